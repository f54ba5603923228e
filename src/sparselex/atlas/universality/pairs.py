"""Correlations of pairs from sums over groups of documents, so that they are known without each group as well."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.base.intervals import Floats

_CONSTANT = 1e-9
"""What rounding leaves of the variance of a constant, as a share of its square."""


class Moments(NamedTuple):
    """Sums of some columns of numbers over the tokens of each group, `[n_groups, n]` each."""

    x: Floats
    """Of the numbers."""

    xx: Floats
    """Of their squares."""

    def at(self, columns: NDArray[np.int64]) -> "Moments":
        """Those of some of the columns."""
        return Moments(self.x[:, columns], self.xx[:, columns])


class Correlations(NamedTuple):
    """How alike pairs are."""

    value: Floats
    """`[n_pairs]`; 0 where the other one of a pair does not vary, NaN where the one itself does not."""

    without: Floats
    """`[n_groups, n_pairs]`, the same without each group of documents."""

    def at(self, pairs: NDArray[np.bool_]) -> "Correlations":
        """Those of some of the pairs."""
        return Correlations(self.value[pairs], self.without[:, pairs])

    def size(self) -> "Correlations":
        """The same without signs."""
        return Correlations(np.abs(self.value), np.abs(self.without))


def moments(found: csr_array, groups: NDArray[np.int64], n_groups: int) -> Moments:
    """Of each row of `[n, n_tokens]`; `groups` is the group of each token."""
    latents = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    place = groups[found.indices] * found.shape[0] + latents
    values = found.data.astype(np.float64)
    x, xx = (np.bincount(place, each, n_groups * found.shape[0]) for each in (values, values**2))
    return Moments(x.astype(np.float64).reshape(n_groups, -1), xx.astype(np.float64).reshape(n_groups, -1))


def products(
    left: csr_array, right: csr_array, partner: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int
) -> Floats:
    """`[n_groups, n_left]`, sums of the products of each row with its partner on the right; 0 without one."""
    both = csr_array(left.multiply(right[partner.clip(min=0)]))
    found = moments(both, groups, n_groups).x
    return np.where(partner >= 0, found, 0.0)


def correlations(n: Floats, left: Moments, right: Moments, xy: Floats) -> Correlations:
    """Pearson correlations of pairs.

    Args:
        n: `[n_groups]`, tokens of each group.
        left: of the ones, `[n_groups, n_pairs]`.
        right: of the others.
        xy: `[n_groups, n_pairs]`, sums of products.
    """
    per_group = np.stack([np.broadcast_to(n[:, None], xy.shape), left.x, left.xx, right.x, right.xx, xy])
    total = per_group.sum(1)
    return Correlations(_pearson(total), _pearson(total[:, None] - per_group))


def _pearson(sums: Floats) -> Floats:
    n, x, xx, y, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        own, other = (_variance(n, one, square) for one, square in ((x, xx), (y, yy)))
        found = (xy / n - x * y / n**2) / np.sqrt(own * other)
    return np.where(own > 0, np.where(other > 0, found, 0.0), np.nan).clip(-1, 1)


def _variance(n: Floats, x: Floats, xx: Floats) -> Floats:
    found = xx / n - (x / n) ** 2
    return np.where(found > _CONSTANT * xx / n, found, 0.0)


def between(
    left: csr_array, right: csr_array, partner: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int
) -> Correlations:
    """Correlation of each row of the left with its partner on the right, over all tokens; 0 for a row without one."""
    n = np.bincount(groups, minlength=n_groups).astype(np.float64)
    own, other = moments(left, groups, n_groups), moments(right, groups, n_groups)
    xy = products(left, right, partner, groups, n_groups)
    there = partner >= 0
    pair = other.at(partner.clip(min=0))
    return correlations(n, own, Moments(np.where(there, pair.x, 0.0), np.where(there, pair.xx, 0.0)), xy)
