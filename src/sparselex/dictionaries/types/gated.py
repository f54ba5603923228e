"""Gated dictionaries: one set of pre-activations opens the latents, another gives their sizes."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sparselex.base.bounds import Amount
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import decode_at, positive_codes
from sparselex.dictionaries.types.relu import warmed


class GatedConfig(EncoderConfig):
    """Configuration of `Gated`."""

    kind: Literal["gated"] = "gated"
    """Type of dictionary."""

    l1: Amount = 5.0
    """Weight of the penalty on the gates, in the units of `relu`."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of training over which the penalty's weight rises from zero."""


class Gated(EncoderDictionary):
    """Gated sparse autoencoder (Rajamanoharan et al. 2024, arXiv:2404.16014).

    With `z = (x - b_dec) @ W_enc`, a latent is open where `z + b_enc > 0` and then has the activation `relu(exp(r_mag)
    z + b_mag)`. The L1 penalty pulls on the gates only, so sizes do not shrink. Gates learn from a reconstruction of
    their own, with a frozen decoder.
    """

    config: GatedConfig
    latent_dims: ClassVar[Mapping[str, int]] = {**EncoderDictionary.latent_dims, "r_mag": 0, "b_mag": 0}

    def __init__(self, config: GatedConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks, decoder_norm=0.1)
        self.r_mag = nn.Parameter(torch.zeros(self.d_sae))
        self.b_mag = nn.Parameter(torch.zeros(self.d_sae))

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        gates = self.pre_acts(x)
        sizes = (self.r_mag.exp() * (gates - self.b_enc) + self.b_mag).relu()
        return torch.where(gates > 0, sizes, 0)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        super().prepare(x, target)
        if not self.is_autoencoder:  # its data is centred by the gates' bias; sizes have one of their own
            self.b_mag.copy_(self.b_enc)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        gates = positive_codes(x, self.pre_acts(x), self.W_enc, self.b_enc, self.centre, gradients=gradients)
        at = gates.indices
        codes = gates.with_values((self.r_mag.exp()[at] * (gates.values - self.b_enc[at]) + self.b_mag[at]).relu())
        codes.gate = gates
        return codes

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """`l1 * sum_i gate_i |W_dec_i|` and the squared error of reconstructing from the gates with the decoder held
        fixed."""
        assert codes.gate is not None
        gates = codes.gate
        sizes = gates.values * self.row_sizes().detach()[gates.indices]
        here = decode_at(gates, self.W_dec.detach(), torch.zeros_like(self.b_dec))
        x_hat = self.ranks.over_latents(here) + self.b_dec.detach()
        weight = self.config.l1 * self.pressure * warmed(progress, self.config.warmup_share)
        error = self.ranks.share_of((x_hat - target.detach()).square().sum())
        return (weight * sizes.sum() + error) / len(target)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        self.b_mag.mul_(sizes / unit)
