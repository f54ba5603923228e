"""Baselines as dictionaries: what a trained dictionary must beat, at the same number of active latents."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary, DictionaryConfig


class BasisConfig(DictionaryConfig):
    """Configuration of a `Basis`."""

    kind: Literal["neurons", "pca", "random"]
    """Which directions."""

    k: PositiveInt
    """Coefficients kept per token: the largest in size, sign kept."""


class Basis(Dictionary):
    """Directions given from outside; codes are the k largest coefficients of the centred activation, with their signs."""

    config: BasisConfig

    def __init__(
        self,
        config: BasisConfig,
        directions: Float[Tensor, "d_sae d_in"],
        mean: Float[Tensor, " d_in"],
    ):
        super().__init__()
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        self.register_buffer("W_dec", directions.contiguous())
        self.register_buffer("b_dec", mean)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        coefficients = (x - self.b_dec) @ self.W_dec.T
        kept = coefficients.abs().topk(min(self.config.k, self.d_sae), dim=-1).indices
        return torch.zeros_like(coefficients).scatter(-1, kept, coefficients.gather(-1, kept))

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        return Codes.from_dense(self.encode(x))


def neurons(mean: Float[Tensor, " d_in"], k: int) -> Basis:
    """The coordinates themselves, as deviations from their mean."""
    d_in = len(mean)
    return Basis(BasisConfig(kind="neurons", d_in=d_in, d_sae=d_in, k=k), torch.eye(d_in, device=mean.device), mean)


def random_rows(mean: Float[Tensor, " d_in"], d_sae: int, k: int, generator: torch.Generator) -> Basis:
    """`d_sae` random directions with unit norm. Overcomplete rows overlap, so their sum is no least-squares reconstruction."""
    rows = torch.randn(d_sae, len(mean), generator=generator, device=generator.device).to(mean.device)
    config = BasisConfig(kind="random", d_in=len(mean), d_sae=d_sae, k=k)
    return Basis(config, rows / rows.norm(dim=-1, keepdim=True), mean)


def principal_components(mean: Float[Tensor, " d_in"], covariance: Float[Tensor, "d_in d_in"], k: int) -> Basis:
    """Eigenvectors of the covariance, largest variance first; the k largest coefficients of each token."""
    d_in = len(mean)
    vectors = torch.linalg.eigh(covariance.double()).eigenvectors.flip(-1).T.to(mean.dtype)
    return Basis(BasisConfig(kind="pca", d_in=d_in, d_sae=d_in, k=k), vectors, mean)
