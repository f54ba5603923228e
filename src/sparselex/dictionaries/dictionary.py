"""What every dictionary offers, and the parts that most of them share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.sparse import Gradients, Scorer, Selection, decode_at


class DictionaryConfig(Config):
    """Fields that every dictionary type has."""

    d_in: PositiveInt
    """Width of the activations read."""

    d_sae: PositiveInt
    """Number of latents."""


class Dictionary(nn.Module, ABC):
    """An encoder into sparse latents and a linear decoder. Rows of `W_dec` are the directions.

    A target other than the input is allowed for (`d_out`); codes may be signed. Everything takes and gives raw
    activations: the scale used in training is folded into the weights when training ends.
    """

    config: DictionaryConfig
    d_in: int
    d_out: int
    d_sae: int
    W_dec: Tensor
    b_dec: Tensor

    @abstractmethod
    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Activations of all latents; most are 0."""

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents only. Equal to `encode`, in less memory where the type allows."""
        return Codes.from_dense(self.encode(x))

    def decode(self, acts: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_out"]:
        """Reconstruction from all latents."""
        return acts @ self.W_dec + self.b_dec

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Reconstruction from active latents."""
        return decode_at(codes, self.W_dec, self.b_dec)

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """Reconstruction of `x`."""
        return self.decode_sparse(self.encode_sparse(x))

    def check_width(self, width: int, where: str) -> None:
        """Raise `UserError` if activations of `width` cannot be read by this dictionary."""
        if width != self.d_in:
            raise UserError(
                f"{where} has width {width}, and the dictionary reads width {self.d_in}.",
                f"activations of width {self.d_in}",
                "use the dictionary with the hook and the model it was trained on.",
            )


class TrainableDictionary(Dictionary):
    """A dictionary whose parameters are found by gradient. Trained on scaled inputs (E|x|² = d_in), then folded once."""

    unit_decoder = False
    """Whether training keeps decoder rows at unit norm, their gradients orthogonal to them."""

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are resampled."""

    lr_factors: ClassVar[Mapping[str, float]] = {}
    """Learning rate of single parameters, relative to the others'."""

    @abstractmethod
    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        """Codes of a training batch, with gradients; may select over the whole batch, and may list places of value 0 that
        pass a pseudo-gradient."""

    @abstractmethod
    def prepare(self, x: Float[Tensor, "n d_in"]) -> None:
        """Take starting values from a sample of the scaled data, before the first step."""

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """The type's own terms of the loss, mean over tokens; `progress` is the share of training done."""
        return target.new_zeros(())

    @abstractmethod
    def fold(self, input_scale: float) -> None:
        """Take over `input_scale` and the decoder's norms into the weights: same reconstructions of raw activations.

        Trained on `s x`; afterwards the dictionary reads `x` and decoder rows have unit norm, so that an activation is the
        length of its contribution in the units of the raw activations.
        """


class EncoderDictionary(TrainableDictionary):
    """A dictionary with one encoder matrix: pre-activations are `(x - b_dec) @ W_enc + b_enc`.

    `W_enc [d_in, d_sae]` lies in memory latent by latent, so that a latent's weights are neighbours and sparse gradients
    need no transpose. Decoder rows start random with unit norm and `W_enc` as their transpose, which prevents most
    dead latents (Gao et al. 2024, arXiv:2406.04093, section 2.4).
    """

    def __init__(
        self, config: DictionaryConfig, generator: torch.Generator | None = None, *, decoder_norm: float = 1.0
    ):
        super().__init__()
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        W = torch.randn(self.d_sae, self.d_in, generator=generator)
        W *= decoder_norm / W.norm(dim=-1, keepdim=True)
        self.W_dec = nn.Parameter(W)
        self.W_enc = nn.Parameter(W.clone().T)
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))

    def pre_acts(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """`(x - b_dec) @ W_enc + b_enc`."""
        return torch.addmm(self.b_enc - self.b_dec @ self.W_enc, x, self.W_enc)

    def scorer(self, dtype: torch.dtype | None = None, *, less: Float[Tensor, " d_sae"] | None = None) -> Scorer:
        """What gives each latent's contribution length `pre_act * |decoder row|` (minus `less`) by one product."""
        norms = self.W_dec.norm(dim=-1)
        bias = (self.b_enc - self.b_dec @ self.W_enc) * norms
        return Scorer(self.W_enc.T, norms, bias if less is None else bias - less, dtype or self.W_enc.dtype)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"]) -> None:
        """Start the decoder bias at the mean of the data."""
        self.b_dec.copy_(x.mean(0, dtype=torch.float64))

    @torch.no_grad()
    def fold(self, input_scale: float) -> None:
        norms = self.W_dec.norm(dim=-1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        self.W_dec.div_(norms[:, None])
        self.b_dec.div_(input_scale)
        # pre = W_enc·(s x - s b) + b_enc; an activation a contributes a·norm/s along the unit row.
        self.W_enc.mul_(norms)
        self.b_enc.mul_(norms / input_scale)
        self._fold_extra(input_scale, norms)

    def _fold_extra(self, input_scale: float, norms: Tensor) -> None:
        """Scale what else a type keeps in units of the activations or of their contributions."""


class KConfig(DictionaryConfig):
    """Fields of the types that keep a fixed number of latents."""

    k: PositiveInt = 32
    """Latents kept per token, exactly or on average over a training batch; this is the L0 unless fewer are positive."""

    selection: Selection = "float32"
    """Precision in which training chooses latents."""

    @model_validator(mode="after")
    def _k_fits(self) -> "KConfig":
        if self.k > self.d_sae:
            raise ValueError(
                f"k={self.k} latents per token cannot be kept of d_sae={self.d_sae}; lower k or raise d_sae"
            )
        return self
