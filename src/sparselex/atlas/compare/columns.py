"""Activations of two indexes on the tokens that both counted, sparse, a row for each latent."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.features.index import FeatureIndex

_BLOCK = 1 << 23
"""Numbers in a dense block: as many latents of the left at a time as make that many pairs."""


class Block(NamedTuple):
    """Some latents of the left against all of the right."""

    start: int
    """The first of them."""

    correlation: NDArray[np.float32]
    """`[n, d_right]`, Pearson correlation of activations over all tokens; -2 where one of the two does not vary."""

    n_both: NDArray[np.float32]
    """`[n, d_right]`, tokens on which both are active."""


def common_ranks(
    a: FeatureIndex, b: FeatureIndex, n_tokens: int | None, rows: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """`[n_positions]`, the number of each token, in some rows or in all, that both indexes counted, in order; -1 for
    any other. With more than `n_tokens` of them, whole rows are left out so that those that stay are spread evenly over
    the corpus."""
    counted = (a.counted & b.counted).reshape(a.corpus.n_rows, a.corpus.n_ctx)
    if rows is not None:
        inside = np.zeros(len(counted), dtype=bool)
        inside[rows] = True
        counted &= inside[:, None]
    if n_tokens is not None and counted.sum() > n_tokens:
        there = np.flatnonzero(counted.any(axis=1))
        n = max(1, int(len(there) * n_tokens / counted.sum()))
        kept = np.zeros(len(counted), dtype=bool)
        kept[there[np.linspace(0, len(there) - 1, n).astype(np.int64)]] = True
        counted = counted & kept[:, None]
    flat = counted.reshape(-1)
    return np.where(flat, np.cumsum(flat) - 1, -1)


def columns(index: FeatureIndex, ranks: NDArray[np.int64]) -> csr_array:
    """`[d_sae, n_tokens]`, the activations of every latent on the tokens that have a rank."""
    places, values, counts = [], [], np.zeros(index.d_sae + 1, dtype=np.int64)
    for latent in range(index.d_sae):  # a column is one slice of a mapped file
        positions, column = index.column(latent)
        there = ranks[positions]
        kept = there >= 0
        places.append(there[kept].astype(np.int32))
        values.append(column[kept])
        counts[latent + 1] = len(places[-1])
    n = int(ranks.max(initial=-1)) + 1
    return csr_array((np.concatenate(values), np.concatenate(places), counts.cumsum()), shape=(index.d_sae, n))


def shifted(found: csr_array, by: int) -> csr_array:
    """The same activations `by` tokens on, around the end: all of their own structure, none of the tokens'."""
    places = (found.indices.astype(np.int64) + by) % max(1, found.shape[1])
    # A copy: places are sorted where they lie, and values with them.
    moved = csr_array((found.data.copy(), places.astype(np.int32), found.indptr), shape=found.shape)
    moved.sort_indices()
    return moved


def n_active(found: csr_array) -> NDArray[np.int64]:
    """`[d_sae]`, tokens on which each latent is active."""
    return np.diff(found.indptr).astype(np.int64)


def blocks(left: csr_array, right: csr_array) -> Iterator[Block]:
    """Every latent of the left against every one of the right, some at a time. Only sums over tokens on which both are
    active are formed; the moments do the rest, so that pairs that are never active together are exact as well."""
    by_token, active = right.T.tocsr(), _flags(right).T.tocsr()
    mean, spread = _moments(left)
    other_mean, other_spread = _moments(right)
    n, step = left.shape[1], max(1, _BLOCK // max(1, right.shape[0]))
    for start in range(0, left.shape[0], step):
        part, rows = left[start : start + step], slice(start, start + step)
        covariance = (part @ by_token).toarray() / n - np.outer(mean[rows], other_mean)
        scale = np.outer(spread[rows], other_spread)
        found = np.divide(covariance, scale, out=np.full_like(scale, -2.0), where=scale > 0)
        yield Block(start, found.astype(np.float32), (_flags(part) @ active).toarray())


def pair_correlations(left: csr_array, right: csr_array, partner: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[d_left]`, the correlation of each latent with its partner on the right; NaN without one, and where one of the
    two does not vary."""
    mean, spread = _moments(left)
    other_mean, other_spread = _moments(right)
    both = left.multiply(right[partner.clip(min=0)]).sum(axis=1) / left.shape[1]
    scale = spread * other_spread[partner.clip(min=0)]
    known = (partner >= 0) & (scale > 0)
    covariance = both - mean * other_mean[partner.clip(min=0)]
    return np.divide(covariance, scale, out=np.full(len(scale), np.nan), where=known)


def _flags(found: csr_array) -> csr_array:
    return csr_array((np.ones(len(found.data), np.float32), found.indices, found.indptr), shape=found.shape)


def _moments(found: csr_array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each row."""
    n, latents = max(1, found.shape[1]), np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    values = found.data.astype(np.float64)
    mean = np.bincount(latents, values, found.shape[0]) / n
    square = np.bincount(latents, values**2, found.shape[0]) / n
    # What is left of a constant by rounding is no spread.
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > 1e-9 * square, variance, 0.0))
