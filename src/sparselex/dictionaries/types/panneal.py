"""p-annealed ReLU dictionaries: an L1 penalty that turns into an Lp penalty."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sparselex.base.bounds import Amount, Count
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.types.relu import PositiveDictionary, warmed


class PAnnealConfig(EncoderConfig):
    """Configuration of `PAnneal`."""

    kind: Literal["panneal"] = "panneal"
    """Type of dictionary."""

    l1: Amount = 1.2
    """Weight of the penalty while p is 1, in the units of `relu`. On the demo's activations 1.0 ended at L0 47 and 2.0
    at L0 12."""

    p_end: float = Field(default=0.2, gt=0, le=1)
    """p at the end of training."""

    start_share: float = Field(default=0.2, ge=0, le=1)
    """Share of training after which p begins to fall, linearly until the end."""

    n_updates: Count = 10
    """Steps in which p falls."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of training over which the penalty's weight rises from zero."""


class PAnneal(PositiveDictionary):
    """ReLU autoencoder with the penalty `sum_i |act_i|W_dec_i||^p`, p falling from 1 (Karvonen et al. 2024,
    arXiv:2408.00113).

    A smaller p looks more like a count of active latents. The weight is divided by how much larger the penalty of the
    batch is than with p = 1, so the pull on the whole stays that of `l1`; the paper rescales only when p changes.
    """

    config: PAnnealConfig

    def __init__(self, config: PAnnealConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks, decoder_norm=0.1)

    def p(self, progress: float) -> float:
        """The exponent after this share of training."""
        config = self.config
        if progress <= config.start_share:
            return 1.0
        done = (progress - config.start_share) / (1 - config.start_share)
        n_done = min(config.n_updates, int(done * config.n_updates) + 1)
        return 1 - (1 - config.p_end) * n_done / config.n_updates

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """`l1 * sum_i (act_i |W_dec_i|)^p`, scaled as said above."""
        sizes = codes.values * self.row_sizes()[codes.indices]
        powers = (sizes + _SMALL) ** self.p(progress)
        together = self.ranks.total(torch.stack([sizes.sum(), powers.sum()]).detach())
        scale = together[0] / together[1].clamp_min(_SMALL)
        weight = self.config.l1 * self.pressure * warmed(progress, self.config.warmup_share)
        return weight * scale * powers.sum() / len(target)


_SMALL = 1e-3
"""Added before the power: its slope at zero is infinite."""
