"""Histograms and examples from columns: vectorised over all latents of a group, no loop over latents.

`Entries` are the columns of a group of latents one after another; `latent` counts from 0 within the group.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Entries(NamedTuple):
    """Active places of a group of latents, ordered by latent, then position."""

    latent: NDArray[np.int64]
    position: NDArray[np.int64]
    value: NDArray[np.float32]

    @classmethod
    def of_group(cls, indptr: NDArray, positions: NDArray, values: NDArray, group: slice) -> "Entries":
        """The columns of a range of latents, from the arrays of all."""
        span = slice(int(indptr[group.start]), int(indptr[group.stop]))
        counts = np.diff(indptr[group.start : group.stop + 1])
        latent = np.repeat(np.arange(len(counts)), counts)
        return cls(latent, np.asarray(positions[span]).astype(np.int64), np.asarray(values[span]))

    def take(self, which: NDArray) -> "Entries":
        """The chosen entries."""
        return Entries(self.latent[which], self.position[which], self.value[which])


class Table(NamedTuple):
    """A fixed number of examples for each latent; unused places hold position -1."""

    position: NDArray[np.int64]
    value: NDArray[np.float32]


def bin_of(entries: Entries, largest: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Bin of each entry: bin `b` of latent `j` is `(b, b + 1] * largest[j] / n_bins`, by size."""
    share = np.abs(entries.value.astype(np.float64)) * n_bins / largest[entries.latent]
    return np.clip(np.ceil(share).astype(np.int64) - 1, 0, n_bins - 1)


def histograms(entries: Entries, largest: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """`[n_latents, n_bins]` counts."""
    cell = entries.latent * n_bins + bin_of(entries, largest, n_bins)
    return np.bincount(cell, minlength=len(largest) * n_bins).reshape(len(largest), n_bins)


def best_of_rows(entries: Entries, n_ctx: int) -> Entries:
    """The largest entry (the first of equals) of each latent in each row: near-copies must not fill a list."""
    if not len(entries.latent):
        return entries
    row = entries.position // n_ctx
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(entries.latent) != 0) | (np.diff(row) != 0)
    starts = np.flatnonzero(new)
    size = np.abs(entries.value)
    run = np.cumsum(new) - 1
    largest = np.flatnonzero(size == np.maximum.reduceat(size, starts)[run])
    return entries.take(largest[np.searchsorted(run[largest], np.arange(len(starts)))])


def top(entries: Entries, largest: NDArray[np.float64], n_ctx: int, n_top: int) -> Table:
    """The `n_top` largest entries of each latent, one a row, earlier positions first among equals."""
    best = best_of_rows(entries, n_ctx)
    share = np.abs(best.value) / largest[best.latent]
    # Sorting everything would cost far more than the pass itself: sort only above the highest of these bars that still
    # leaves a latent enough.
    bar = np.zeros(len(largest))
    for level in (0.25, 0.5, 0.75):
        bar[np.bincount(best.latent[share >= level], minlength=len(largest)) >= n_top] = level
    best = best.take(share >= bar[best.latent])
    order = np.lexsort((best.position, -np.abs(best.value), best.latent))
    return _table(best.take(order), best.latent[order], len(largest), n_top)


def interval_examples(
    entries: Entries, largest: NDArray[np.float64], n_ctx: int, n_intervals: int, n_each: int, seed: int
) -> tuple[Table, NDArray[np.int64]]:
    """`n_each` entries of each latent from each of `n_intervals` equal ranges, drawn without replacement, one a row and
    range.

    Returns the table `[n_latents * n_intervals, n_each]` and the number of tokens in each range. The draw is by a hash
    of position and seed, so it depends neither on the order of work nor on other latents.
    """
    n_cells = len(largest) * n_intervals
    cell = entries.latent * n_intervals + bin_of(entries, largest, n_intervals)
    counts = np.bincount(cell, minlength=n_cells)
    key = uniform(entries.position, seed)
    # Low keys are drawn first; what lies above the bar of its range could only be reached with many entries in one row.
    keep = key <= 8 * n_each / np.maximum(counts, 1)[cell]
    entries, cell, key = entries.take(keep), cell[keep], key[keep]
    order = np.lexsort((key, cell))
    entries, cell = entries.take(order), cell[order]
    _, first = np.unique(np.stack([cell, entries.position // n_ctx]), axis=1, return_index=True)
    first.sort()
    return _table(entries.take(first), cell[first], n_cells, n_each), counts


def _table(entries: Entries, group: NDArray[np.int64], n_groups: int, width: int) -> Table:
    """The first `width` entries of each group; `group` ascends."""
    starts = np.searchsorted(group, np.arange(n_groups))
    rank = np.arange(len(group)) - starts[group] if len(group) else np.empty(0, dtype=np.int64)
    keep = rank < width
    position = np.full((n_groups, width), -1, dtype=np.int64)
    value = np.zeros((n_groups, width), dtype=np.float32)
    position[group[keep], rank[keep]] = entries.position[keep]
    value[group[keep], rank[keep]] = entries.value[keep]
    return Table(position, value)


def uniform(position: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1] from position and seed (the finaliser of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = position.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)) + np.uint64(1)) / 2.0**53
