"""How much of a direction the model reads, to first order: the output metric, and what it makes of directions. Arrays
in, arrays out.

With g the gradient at a site of log p(y), y drawn from what the model itself predicts there and later, G = E[g gᵀ] is
the Fisher information pulled back to the site: a small change δ there moves all predictions of its row together by a
divergence of about δᵀGδ / 2 nats. How much of a direction u (of unit length) is read is said beside what activations
differ by, whose covariance is Σ:

    relevance(u) = uᵀGu · tr(Σ) / tr(GΣ)

1 is read as much as a typical difference of two activations. It is first order and an average over tokens: a threshold
that is seldom passed, and what is read far away from where activations lie, it does not see. One pass back for each
row of tokens; about 10 to 20 tokens for each dimension are asked for. After the local interaction basis (Bushnaq et al.
2024, arXiv:2405.10928), whose metric it is, kept as a metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

_AT_ONCE = 2048
"""Directions whose products with gradients are held at a time."""


@dataclass(eq=False)
class OutputMetric:
    """Sums over gradients, by groups of documents.

    Args:
        directions: `[m, d]` rows of unit length, by name.
        covariance: `[d, d]` of the activations.
        n_groups: groups that are left out in turn, for intervals.
    """

    directions: Mapping[str, Float[Tensor, "m d"]]
    covariance: Float[Tensor, "d d"]
    n_groups: int
    squares: dict[str, Floats] = field(init=False)
    """`[n_groups, m]`, by name: sums of (g · u)²."""

    through: Floats = field(init=False)
    """`[n_groups]` sums of gᵀΣg."""

    n_tokens: NDArray[np.int64] = field(init=False)
    """`[n_groups]` gradients."""

    gram: Float[Tensor, "d d"] = field(init=False)
    """Sum of g gᵀ over all of them."""

    def __post_init__(self) -> None:
        self.covariance = self.covariance.double()
        self.squares = {name: np.zeros((self.n_groups, len(rows))) for name, rows in self.directions.items()}
        self.through, self.n_tokens = np.zeros(self.n_groups), np.zeros(self.n_groups, dtype=np.int64)
        self.gram = torch.zeros_like(self.covariance)

    def add(self, gradients: Float[Tensor, "n d"], groups: Int[Tensor, " n"]) -> None:
        """Count some gradients, each of the group of its document."""
        exact = gradients.double()
        self.gram += exact.T @ exact
        self.through += _by_group(((exact @ self.covariance) * exact).sum(-1, keepdim=True), groups, self.n_groups)[
            :, 0
        ]
        self.n_tokens += np.bincount(groups.numpy(), minlength=self.n_groups)
        for name, rows in self.directions.items():
            for sums, part in zip(np.split(self.squares[name], _cuts(len(rows)), 1), rows.split(_AT_ONCE), strict=True):
                sums += _by_group((gradients @ part.T).square(), groups, self.n_groups)

    def relevance(self, name: str) -> Floats:
        """`[m]`, of each direction."""
        return self._of(self.squares[name].sum(0), self.through.sum())

    def without(self, name: str) -> Floats:
        """`[n_groups, m]`, the same without each group in turn."""
        squares, through = self.squares[name], self.through
        return self._of(squares.sum(0) - squares, (through.sum() - through)[:, None])

    def _of(self, squares: Floats, through: Floats | np.float64) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = squares * float(self.covariance.trace()) / through
        return found

    def read_span(self, share: float) -> Float[Tensor, "d r"]:
        """Orthonormal columns: the fewest eigenvectors of G that hold this share of its trace."""
        values, vectors = torch.linalg.eigh(self.gram)
        held = values.flip(0).clamp_min(0).cumsum(0)
        n = int((held < share * held[-1]).sum()) + 1
        return vectors.flip(1)[:, : min(n, len(values))]

    def span_null(self, span: Float[Tensor, "d r"]) -> float:
        """Share of the activations' variance that lies in what is read: what a direction drawn as they vary has."""
        return float((span.T @ self.covariance @ span).trace() / self.covariance.trace())


def in_span(rows: Float[Tensor, "m d"], span: Float[Tensor, "d r"]) -> Floats:
    """`[m]`, share of the squared length of rows of unit length that lies in a span."""
    found: Floats = (rows.double() @ span).square().sum(-1).numpy()
    return found


def _cuts(n: int) -> NDArray[np.int64]:
    return np.arange(_AT_ONCE, n, _AT_ONCE)


def _by_group(values: Float[Tensor, "n m"], groups: Int[Tensor, " n"], n_groups: int) -> Floats:
    sums = torch.zeros(n_groups, values.shape[1], dtype=torch.float64)
    found: Floats = sums.index_add_(0, groups, values.double()).numpy()
    return found
