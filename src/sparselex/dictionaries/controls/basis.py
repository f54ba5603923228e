"""Controls as dictionaries: directions that nothing was trained to find, at the same number of active latents."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.vectors import unit_rows

_CHUNK_NUMBERS = 2**25
"""Numbers written at a time, 128 MiB in float32: scores of tokens by latents, and gathered rows."""

_RIDGE = 1e2
"""Added to the diagonal of chosen rows' products, in units of rounding: enough that equal rows divide by no zero, and
far too little to move a coefficient (by 1e-5 of it in float32)."""


class BasisConfig(DictionaryConfig):
    """Configuration of a `Basis`."""

    kind: str
    """Which directions: the name of the control."""

    k: PositiveInt
    """Coefficients kept per token, with their signs."""

    code: Literal["largest", "pursuit"] = "largest"
    """How they are found. `largest`: the k largest of one product, right where directions are orthogonal; directions
    that overlap each count what they share, and their sum overshoots. `pursuit`: step by step from what is left,
    coefficients by least squares."""

    n_steps: PositiveInt = 8
    """Steps of a pursuit, each a product with all directions; k of them or more are orthogonal matching pursuit."""


class Basis(Dictionary):
    """Directions given from outside, rows with unit norm, so that a coefficient is the length of its contribution.

    Codes are signed and describe the deviation from `mean`. A pursuit is generalised orthogonal matching pursuit (Wang,
    Kwon and Shim 2012, IEEE TSP 60(12)): each of `n_steps` steps adds the directions with the largest |row · residual|,
    an equal share of k, and all coefficients are fitted again by least squares. It keeps exactly k directions, or
    `d_in` where k is larger.

    Raises `UserError` for rows without unit norm.
    """

    config: BasisConfig
    signed: ClassVar[bool] = True

    def __init__(self, config: BasisConfig, directions: Float[Tensor, "d_sae d_in"], mean: Float[Tensor, " d_in"]):
        super().__init__()
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        norms = directions.norm(dim=-1)
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
            raise UserError(
                f"Directions have norms from {float(norms.min()):.4g} to {float(norms.max()):.4g}.",
                "rows with unit norm",
                "divide each row by its norm, and leave out rows of zeros.",
            )
        self.register_buffer("W_dec", directions.contiguous())
        self.register_buffer("b_dec", mean)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        places, values = self._code(x)
        return values.new_zeros(len(x), self.d_sae).scatter(-1, places, values)

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        places, values = self._code(x)
        active = values != 0
        rows, _ = active.nonzero(as_tuple=True)
        return Codes.from_pairs(rows, places[active], values[active], len(x), self.d_sae)

    def _code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and coefficients `[n, k]` of each token."""
        k = min(self.config.k, self.d_in, self.d_sae)
        widest = max(self.d_sae, k * self.d_in if self.config.code == "pursuit" else 0)
        find = self._pursue if self.config.code == "pursuit" else self._largest
        parts = [find(part - self.b_dec, k) for part in x.split(max(1, _CHUNK_NUMBERS // widest))]
        return torch.cat([places for places, _ in parts]), torch.cat([values for _, values in parts])

    def _largest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        coefficients = x @ self.W_dec.T
        places = coefficients.abs().topk(k, dim=-1).indices
        return places, coefficients.gather(-1, places)

    def _pursue(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        places = torch.empty(len(x), 0, dtype=torch.int64, device=x.device)
        values, residual = x[:, :0], x
        n_added = -(-k // self.config.n_steps)
        while places.shape[1] < k:
            with torch.no_grad():  # which directions are taken has no gradient
                scores = (residual @ self.W_dec.T).abs_().scatter_(-1, places, -1.0)
                added = scores.topk(min(n_added, k - places.shape[1]), dim=-1, sorted=False).indices
                places = torch.cat([places, added], -1)
                rows = self.W_dec[places]
            values = _least_squares(rows, x)
            residual = x - (values[:, None] @ rows)[:, 0]
        return places, values


def pursued(
    kind: str, rows: Float[Tensor, "d_sae d_in"], mean: Float[Tensor, " d_in"], k: int, *, n_steps: int
) -> Basis:
    """The directions of `rows`, which may have any length but 0, in the precision of `mean`; codes by pursuit."""
    d_sae, d_in = rows.shape
    config = BasisConfig(kind=kind, d_in=d_in, d_sae=d_sae, k=k, code="pursuit", n_steps=n_steps)
    return Basis(config, unit_rows(rows).to(mean.dtype), mean)


def check_sample(x: Float[Tensor, "n d_in"]) -> None:
    """Raise `UserError` if a sample of activations is not finite."""
    n_bad = int((~torch.isfinite(x)).any(-1).sum())
    if n_bad:
        raise UserError(
            f"The sample of activations holds NaN or infinity in {n_bad} of {len(x)} tokens.",
            "finite activations",
            "check the model's precision.",
        )


def _least_squares(rows: Float[Tensor, "n m d_in"], x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n m"]:
    """Coefficients with which each token's own rows come nearest to it."""
    products = rows @ rows.mT
    products.diagonal(dim1=-2, dim2=-1).add_(_RIDGE * torch.finfo(x.dtype).eps)
    return torch.cholesky_solve(rows @ x[..., None], torch.linalg.cholesky(products))[..., 0]
