"""ReLU dictionaries with an L1 penalty, in both of its conventions."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from sparselex.base.bounds import Amount
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.conventions import l1_of_raw, raw_of_l1
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.median import geometric_median
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import positive_codes
from sparselex.dictionaries.vectors import unit_rows


class ReLUConfig(EncoderConfig):
    """Configuration of `ReLU`."""

    kind: Literal["relu"] = "relu"
    """Type of dictionary."""

    l1: Amount = 5.0
    """Weight of the penalty, in the convention that `l1_convention` names."""

    l1_convention: Literal["scaled", "raw"] = "scaled"
    """`scaled`: for a squared error summed over `d_in` and inputs scaled to E|x|² = d_in. `raw`: for one averaged over
    `d_in`, of activations as the model gives them (Towards Monosemanticity); it is converted by the scale that is
    measured before the first step, and the manifest of the dictionary notes it in both."""

    convention: Literal["2024", "2023"] = "2024"
    """`2024`: the penalty counts activation times decoder norm and the decoder is free (Anthropic's April 2024 update).
    `2023`: it counts activations, decoder rows are kept at unit norm with projected gradients (Towards
    Monosemanticity), and silent latents may be resampled."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of training over which the penalty's weight rises from zero."""

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are resampled on badly reconstructed tokens; none by default, since
    AuxK revives them. Towards Monosemanticity: (0.025, 0.05, 0.075, 0.1) of a million steps, without AuxK."""

    resample_to: Literal["centred", "input"] = "centred"
    """Where a resampled latent points: at the token less `b_dec`, which is what latents add up to, or at the token as
    it is (Towards Monosemanticity)."""

    start: Literal["tied", "kaiming"] = "tied"
    """Weights before the first step. `tied`: decoder rows of random direction, the encoder their transpose. `kaiming`:
    encoder and decoder drawn apart, as PyTorch draws the weights of linear layers, decoder rows then brought to their
    norm; biases 0 (Towards Monosemanticity)."""

    b_dec_start: Literal["mean", "median"] = "mean"
    """What `b_dec` starts at: the mean of the first batches, or their geometric median (Towards Monosemanticity)."""

    @model_validator(mode="after")
    def _of_one_site(self) -> "ReLUConfig":
        several = self.parts or self.d_out is not None or self.token_norm != "none"
        of_one = {"l1_convention": self.l1_convention == "raw", "resample_to": self.resample_to == "input"}
        if several and (given := [name for name, is_given in of_one.items() if is_given]):
            raise ValueError(
                f"{given[0]}={getattr(self, given[0])!r} is of an autoencoder that reads one site as it is: leave it "
                "out, or d_out, parts and token_norm"
            )
        return self


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
        self._l1, self._noted = config.l1, dict[str, Any]()
        super().__init__(config, generator, ranks, decoder_norm=1.0 if self.unit_decoder else 0.1)
        if config.start == "kaiming":
            self._start_apart(generator)

    def _start_apart(self, generator: torch.Generator | None) -> None:
        """Encoder weights uniform within 1 / sqrt(d_in) of 0, as PyTorch draws those of a linear layer; decoder rows
        uniform in a cube, at their norm."""
        norm = self.W_dec.detach().norm(dim=-1, keepdim=True)
        read, written = self._uniform(self.d_in, generator), self._uniform(self.d_out, generator)
        with torch.no_grad():
            self.W_enc.copy_(read.T / self.d_in**0.5)
            self.W_dec.copy_(norm * unit_rows(written))

    def _uniform(self, width: int, generator: torch.Generator | None) -> Tensor:
        """Numbers between -1 and 1 for the rows of this process, from the normal ones that all types draw."""
        return torch.erf(self.ranks.randn(self.config.d_sae, width, generator) / 2**0.5)

    def take_scales(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        if len(target_scales) > 1:  # of several sites there is no one convention for raw values
            return
        width, scale, l1 = self.d_out, target_scales[0], self.config.l1
        if self.config.l1_convention == "raw":
            self._l1 = l1_of_raw(l1, width, scale)
        self._noted = {"l1": {"scaled": self._l1, "raw": raw_of_l1(self._l1, width, scale)}}

    def noted(self) -> dict[str, Any]:
        return self._noted

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        super().prepare(x, target)
        if self.config.b_dec_start == "median":
            self.b_dec.copy_(geometric_median(target))

    @torch.no_grad()
    def revive(
        self,
        dead: Int[Tensor, " n_dead"],
        x: Float[Tensor, "n_dead d_in"],
        target: Float[Tensor, "n_dead d_out"],
        mean: Float[Tensor, " d_in"],
    ) -> list[tuple[Tensor, int]]:
        if self.config.resample_to == "centred":
            return super().revive(dead, x, target, mean)
        # As the paper has it: at the input itself, and not at what latents add to `b_dec`.
        here = self.b_dec.detach()
        return super().revive(dead, x + here, target + here, mean)

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """`l1 * sum_i act_i |W_dec_i|`, or without the norm in the convention of 2023."""
        sizes = codes.values if self.unit_decoder else codes.values * self.row_sizes()[codes.indices]
        weight = self._l1 * self.pressure * warmed(progress, self.config.warmup_share)
        return weight * sizes.sum() / len(target)


def warmed(progress: float, share: float) -> float:
    """Rises linearly from 0 to 1 over the first `share` of training."""
    return min(1.0, progress / share) if share else 1.0
