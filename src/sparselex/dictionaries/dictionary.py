"""What every dictionary offers to those who read it."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.base.html import card, table, words
from sparselex.dictionaries.coder import check_reads
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.sparse.products import decode_at

ByToken = Callable[[Any, Tensor], Tensor]
"""A method that takes tokens and gives something of each."""


def by_token(method: ByToken) -> ByToken:
    """The method for tokens that stand in rows too, `[..., d]` in and `[..., e]` out."""

    @functools.wraps(method)
    def whole(self: Any, x: Tensor) -> Tensor:
        return method(self, x) if x.ndim == 2 else method(self, x.reshape(-1, x.shape[-1])).unflatten(0, x.shape[:-1])

    return whole


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

    signed: ClassVar[bool] = False
    """Whether activations may be negative: one latent then serves a direction and its opposite."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        """Activations of all latents; most are 0. A type that thinks of `[n, d_in]` alone puts `by_token` on it."""

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents only. Equal to `encode`, in less memory where the type allows."""
        return Codes.from_dense(self.encode(x))

    def encode_as_sparse(self, x: Float[Tensor, "n d_in"], n_active: Int[Tensor, " n"]) -> Codes:
        """The active latents, as many of each token as `n_active` says where the type can choose their number, so that
        a control can be as sparse as what it is held against; else those of `encode_sparse`."""
        return self.encode_sparse(x)

    def decode(self, acts: Float[Tensor, "*n d_sae"]) -> Float[Tensor, "*n d_out"]:
        """Reconstruction from all latents."""
        return acts @ self.W_dec + self.b_dec

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Reconstruction from active latents."""
        return decode_at(codes, self.W_dec, self.b_dec)

    def directions(self) -> Float[Tensor, "d_sae d_out"]:
        """Decoder rows as they are compared with each other: of several sites, each in units of its own scale."""
        return self.W_dec.detach()

    def encoder_rows(self) -> Float[Tensor, "d_sae d_in"] | None:
        """What each latent reads as a row, to be compared with other dictionaries': of several sites, each in units of
        its own scale. None for a type without an encoder."""
        return None

    def encoder_bias(self) -> Float[Tensor, " d_sae"] | None:
        """What is added to what each latent reads, before it is an activation. None for a type without such."""
        return None

    def bypass(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"] | None:
        """What reaches the target past the latents, or None where nothing does."""
        return None

    @by_token
    def forward(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_out"]:
        """Reconstruction of the target of `x`, which is `x` itself for an autoencoder."""
        return self.reconstruct(x, self.encode_sparse(x))

    def reconstruct(self, x: Float[Tensor, "n d_in"], codes: Codes) -> Float[Tensor, "n d_out"]:
        """Reconstruction from the codes of `x`, what bypasses them included."""
        decoded, past = self.decode_sparse(codes), self.bypass(x)
        return decoded if past is None else decoded + past

    def check_width(self, width: int, where: str) -> None:
        """Raise `UserError` if activations of `width` cannot be read by this dictionary."""
        check_reads(self, width, where)

    def _repr_html_(self) -> str:
        """In a notebook: what it is, and how it was configured."""
        name, rows = type(self).__name__, [[name, str(value)] for name, value in self.config.to_json().items()]
        read = f"{self.d_in} → {self.d_sae} latents" + ("" if self.d_out == self.d_in else f" → {self.d_out}")
        n_weights = sum(tensor.numel() for tensor in self.state_dict().values())
        signed = " Its activations may be negative." if self.signed else ""
        return card(
            f"{name}: {read}", words(f"{n_weights:,} numbers.{signed}", quiet=True), table(["field", "value"], rows)
        )
