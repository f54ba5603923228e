"""Which latents are dead, counted in tokens."""

import torch
from jaxtyping import Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes


class Silence:
    """Tokens since each latent was last active."""

    def __init__(self, d_sae: int, dead_after_tokens: int, device: torch.device | str = "cpu"):
        self.dead_after_tokens = dead_after_tokens
        self.n_tokens = torch.zeros(d_sae, dtype=torch.int64, device=device)

    def update(self, codes: Codes) -> None:
        """Count one batch."""
        self.n_tokens += len(codes)
        self.n_tokens[codes.indices[codes.values != 0]] = 0

    @property
    def dead(self) -> Int[Tensor, " n_dead"]:
        """Latents silent for `dead_after_tokens` or more."""
        return (self.n_tokens >= self.dead_after_tokens).nonzero().view(-1)
