"""ReLU dictionaries with an L1 penalty, in both of its conventions."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sparselex.base.bounds import Amount
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import positive_codes


class ReLUConfig(EncoderConfig):
    """Configuration of `ReLU`."""

    kind: Literal["relu"] = "relu"
    """Type of dictionary."""

    l1: Amount = 5.0
    """Weight of the penalty, for a squared error summed over `d_in` and inputs scaled to E|x|² = d_in."""

    convention: Literal["2024", "2023"] = "2024"
    """`2024`: the penalty counts activation times decoder norm and the decoder is free (Anthropic's April 2024 update).
    `2023`: it counts activations, decoder rows are kept at unit norm with projected gradients (Towards
    Monosemanticity), and silent latents may be resampled."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of training over which the penalty's weight rises from zero."""

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are resampled on badly reconstructed tokens; none by default, since
    AuxK revives them. Towards Monosemanticity: (0.125, 0.25, 0.375, 0.5) of 200,000 steps, without AuxK."""


class PositiveDictionary(EncoderDictionary):
    """A dictionary of which every positive pre-activation is an activation; a penalty has to make most of them zero."""

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return self.pre_acts(x).relu()

    def saelens(self) -> dict[str, Any]:
        return {"architecture": "standard"}

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        return positive_codes(x, self.pre_acts(x), self.W_enc, self.b_enc, self.centre, gradients=gradients)


class ReLU(PositiveDictionary):
    """ReLU autoencoder: every positive pre-activation is an activation, and an L1 penalty makes most of them zero.

    In the convention of 2024 decoder rows start with norm 0.1 and are unconstrained: the penalty counts `act * |decoder
    row|`, so nothing is gained by growing the decoder. Inputs are scaled to E|x|² = d_in (the update scales E|x| to
    sqrt(d_in); nearly the same).
    """

    config: ReLUConfig

    def __init__(self, config: ReLUConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        self.unit_decoder, self.resample_shares = config.convention == "2023", config.resample_shares
        super().__init__(config, generator, ranks, decoder_norm=1.0 if self.unit_decoder else 0.1)

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """`l1 * sum_i act_i |W_dec_i|`, or without the norm in the convention of 2023."""
        sizes = codes.values if self.unit_decoder else codes.values * self.row_sizes()[codes.indices]
        weight = self.config.l1 * self.pressure * warmed(progress, self.config.warmup_share)
        return weight * sizes.sum() / len(target)


def warmed(progress: float, share: float) -> float:
    """Rises linearly from 0 to 1 over the first `share` of training."""
    return min(1.0, progress / share) if share else 1.0
