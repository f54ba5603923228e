"""Which latents are dead, counted in tokens."""

import torch
from jaxtyping import Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.ranks import ALONE, Ranks


class Silence:
    """Tokens since each latent was last active."""

    def __init__(self, d_sae: int, dead_after_tokens: int, device: torch.device | str = "cpu"):
        self.dead_after_tokens = dead_after_tokens
        self.n_tokens = torch.zeros(d_sae, dtype=torch.int64, device=device)

    def update(self, codes: Codes, ranks: Ranks = ALONE) -> None:
        """Count one batch, of which each process saw a part."""
        active = torch.zeros_like(self.n_tokens)
        active[codes.indices[codes.values != 0]] = 1
        together = ranks.over_data(torch.cat([active, active.new_tensor([len(codes)])]))
        self.n_tokens += together[-1]
        self.n_tokens[together[:-1] > 0] = 0

    @property
    def dead(self) -> Int[Tensor, " n_dead"]:
        """Latents silent for `dead_after_tokens` or more."""
        return self.silent_for(self.dead_after_tokens)

    def silent_for(self, n_tokens: int) -> Int[Tensor, " n_silent"]:
        """Latents silent for the last `n_tokens` or more."""
        return (self.n_tokens >= n_tokens).nonzero().view(-1)
