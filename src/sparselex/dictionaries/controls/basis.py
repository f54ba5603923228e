"""Controls as dictionaries: directions that nothing was trained to find, at the same number of active latents."""

from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import Dictionary, by_token
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
    `d_in` where k is larger; `encode_as_sparse` as many as it is told, token by token.

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

    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        if self.config.code == "largest":
            return self._largest(x, self._as_configured(x))
        places, values = self._code(x, self._as_configured(x))
        # A place that a token left empty names one of its directions a second time, with 0.
        return values.new_zeros(len(x), self.d_sae).scatter_add(-1, places, values)

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        return self.encode_as_sparse(x, self._as_configured(x))

    def encode_as_sparse(self, x: Float[Tensor, "n d_in"], n_active: Int[Tensor, " n"]) -> Codes:
        n_active = n_active.to(x.device).clamp(0, min(self.d_in, self.d_sae))
        if self.config.code == "largest":
            return Codes.from_dense(self._largest(x, n_active))
        places, values = self._code(x, n_active)
        active = values != 0
        rows, _ = active.nonzero(as_tuple=True)
        return Codes.from_pairs(rows, places[active], values[active], len(x), self.d_sae)

    def _as_configured(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), min(self.config.k, self.d_in, self.d_sae), device=x.device)

    def _code(self, x: Tensor, n_active: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and coefficients `[n, most]` of each token; beyond its own number a token's coefficients are 0."""
        most = int(n_active.max()) if len(x) else 0
        places = torch.zeros(len(x), most, dtype=torch.int64, device=x.device)
        values = x.new_zeros(len(x), most)
        # Tokens that take alike are coded together: each part costs as much as the one that takes most.
        order = n_active.argsort(stable=True)
        widest = max(self.d_sae, most * self.d_in)
        for part in order.split(max(1, _CHUNK_NUMBERS // widest)):
            if len(part) and (most := int(n_active[part].max())):
                places[part, :most], values[part, :most] = self._pursue(x[part] - self.b_dec, n_active[part])
        return places, values

    def _largest(self, x: Tensor, n_active: Tensor) -> Tensor:
        """`[n, d_sae]`, the largest coefficients of each token, all others 0. By the size that they must have: sizes
        alone are sorted several times faster than the places of the largest are found."""
        coefficients = (x - self.b_dec) @ self.W_dec.T
        sizes = coefficients.detach().abs()
        least = _ascending(sizes).gather(-1, (self.d_sae - n_active).clamp_max(self.d_sae - 1)[:, None])
        kept = (sizes >= least) & (n_active > 0)[:, None]
        # Of equals at the end only as many as there is room for.
        for token in (kept.sum(-1) > n_active).nonzero().view(-1).tolist():
            kept[token] = False
            kept[token, sizes[token].topk(int(n_active[token])).indices] = True
        return coefficients * kept

    def _pursue(self, x: Tensor, n_active: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.empty(len(x), 0, dtype=torch.int64, device=x.device)
        taken = torch.empty(len(x), 0, dtype=torch.bool, device=x.device)
        fit, values, residual = _Fit(x), x[:, :0], x
        n_steps = min(self.config.n_steps, int(n_active.max()))
        for step in range(n_steps):
            # An equal share of what a token takes in each step, the larger ones first.
            share = -(n_active * -(step + 1) // n_steps) + n_active * -step // n_steps
            with torch.no_grad():  # which directions are taken has no gradient
                scores = (residual @ self.W_dec.T).abs_().scatter_(-1, places, -1.0)
                added = scores.topk(int(share.max()), dim=-1).indices
                takes = torch.arange(added.shape[1], device=x.device) < share[:, None]
                # What is not taken is a direction that is there already, so that it can be taken later.
                added = added.where(takes, added[:, :1] if step == 0 else places[:, :1])
                places, taken = torch.cat([places, added], -1), torch.cat([taken, takes], -1)
            values = fit.add(self.W_dec[added] * takes[..., None])
            # From the directions themselves, which lie close together in memory, and not from those of each token.
            residual = x - functional.embedding_bag(places, self.W_dec, mode="sum", per_sample_weights=values)
        return _first(places, values, taken, int(n_active.max()))


class _Fit:
    """Coefficients with which each token's own rows come nearest to it, while rows are added: products that are known
    are kept."""

    def __init__(self, x: Float[Tensor, "n d_in"]):
        self._x = x
        self._rows, self._onto_x = x.new_empty(len(x), 0, x.shape[1]), x[:, :0]
        self._products = x.new_empty(len(x), 0, 0)

    def add(self, rows: Float[Tensor, "n added d_in"]) -> Float[Tensor, "n m"]:
        """The coefficients of all rows so far and these; a row of zeros has 0."""
        self._rows = torch.cat([self._rows, rows], 1)
        self._onto_x = torch.cat([self._onto_x, (rows @ self._x[..., None])[..., 0]], 1)
        with_all = rows @ self._rows.mT
        n_before = self._products.shape[1]
        with_all[..., n_before:].diagonal(dim1=-2, dim2=-1).add_(_RIDGE * torch.finfo(rows.dtype).eps)
        before = torch.cat([self._products, with_all[..., :n_before].mT], 2)
        self._products = torch.cat([before, with_all], 1)
        factor = torch.linalg.cholesky(self._products)
        return torch.cholesky_solve(self._onto_x[..., None], factor)[..., 0]


def pursued(
    kind: str, rows: Float[Tensor, "d_sae d_in"], mean: Float[Tensor, " d_in"], k: int, *, n_steps: int
) -> Basis:
    """The directions of `rows`, which may have any length but 0, in the precision of `mean`; codes by pursuit."""
    d_sae, d_in = rows.shape
    config = BasisConfig(kind=kind, d_in=d_in, d_sae=d_sae, k=k, code="pursuit", n_steps=n_steps)
    return Basis(config, unit_rows(rows).to(mean.dtype), mean)


def _ascending(sizes: Tensor) -> Tensor:
    """Each row sorted; on the CPU by NumPy, which is far faster."""
    if sizes.device.type == "cpu":
        return torch.from_numpy(np.sort(sizes.numpy(), axis=-1))
    return sizes.sort(dim=-1).values


def _first(places: Tensor, values: Tensor, taken: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The at most `most` places of each token that are taken, ahead of those that are not, whose values are 0."""
    order = taken.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    return places.gather(-1, order), (values * taken).gather(-1, order)


def check_sample(x: Float[Tensor, "n d_in"]) -> None:
    """Raise `UserError` if a sample of activations is not finite."""
    n_bad = int((~torch.isfinite(x)).any(-1).sum())
    if n_bad:
        raise UserError(
            f"The sample of activations holds NaN or infinity in {n_bad} of {len(x)} tokens.",
            "finite activations",
            "check the model's precision.",
        )
