"""Statistics of every latent from its column, and histograms whose bins all latents share."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.features.examples import Entries

LOG_BINS = 48
"""Log-spaced bins that are kept: 24 doublings up to the largest activation of all, what is smaller in the lowest."""

_MANTISSA = np.uint32(0x7FFFFF)
_ROOT_TWO = np.array([np.sqrt(2)], dtype=np.float32).view(np.uint32)[0] & _MANTISSA


def statistics(entries: Entries, counts: NDArray[np.int64]) -> dict[str, NDArray]:
    """`[n_latents, n_splits]` of a range of latents: `n_active`, `sum` and `sum_square` in float64, `max` (the extreme
    of larger size, with its sign). `counts` `[n_splits, n_latents]` says how many entries lie in each split; a latent's
    entries are in the order of the splits."""
    sizes = counts.T.reshape(-1)
    there = np.flatnonzero(sizes)
    starts = (sizes.cumsum() - sizes)[there]
    wide = entries.value.astype(np.float64)
    found: dict[str, NDArray] = {"n_active": counts.T}
    for name, values, reduce in (
        ("sum", wide, np.add.reduceat),
        ("sum_square", wide * wide, np.add.reduceat),
        ("low", entries.value, np.minimum.reduceat),
        ("high", entries.value, np.maximum.reduceat),
    ):
        part = np.zeros(len(sizes))
        if len(there):
            part[there] = reduce(values, starts)
        found[name] = part.reshape(counts.T.shape)
    low, high = found.pop("low").clip(max=0), found.pop("high").clip(min=0)
    return found | {"max": np.where(-low > high, low, high)}


class LogCounts(NamedTuple):
    """Counts of a range of latents in log-spaced bins."""

    lowest: int
    """Number of the first bin that any of them has."""

    counts: NDArray[np.int64]
    """`[n_latents, n_bins]`."""


def log_bin(size: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each positive size: bin `b` is `(edge(b), edge(b + 1)]`, edges half a doubling apart. Read off the
    bits of the number, so that an edge falls to the same side whatever the rounding."""
    below = size.view(np.uint32) - np.uint32(1)
    return 2 * (below >> np.uint32(23)).astype(np.int64) + ((below & _MANTISSA) >= _ROOT_TWO)


def log_edge(number: NDArray[np.int64]) -> NDArray[np.float32]:
    """The lower edge of each bin."""
    bits = (number // 2).astype(np.uint32) << np.uint32(23)
    return (bits | np.where(number % 2, _ROOT_TWO, np.uint32(0)).astype(np.uint32)).view(np.float32)


def log_counts(entries: Entries, n_latents: int) -> LogCounts:
    """How many entries of each latent lie in each log-spaced bin."""
    if not len(entries.value):
        return LogCounts(0, np.zeros((n_latents, 0), dtype=np.int64))
    bins = log_bin(np.abs(entries.value))
    lowest = int(bins.min())
    n_bins = int(bins.max()) - lowest + 1
    cell = entries.latent * n_bins + (bins - lowest)
    return LogCounts(lowest, np.bincount(cell, minlength=n_latents * n_bins).reshape(n_latents, n_bins))


def log_histograms(parts: list[LogCounts]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`[d_sae, n_bins]` counts of all ranges of latents and `[n_bins + 1]` edges that all share. The lowest bin begins
    at 0 and holds all that is smaller than the others."""
    there = [part for part in parts if part.counts.shape[1]]
    end = max((part.lowest + part.counts.shape[1] for part in there), default=1)
    begin = max(min((part.lowest for part in there), default=0), end - LOG_BINS)
    found = np.zeros((sum(len(part.counts) for part in parts), end - begin), dtype=np.int64)
    row = 0
    for part in parts:
        rows, n_bins = slice(row, row + len(part.counts)), part.counts.shape[1]
        places = np.maximum(part.lowest + np.arange(n_bins) - begin, 0)
        np.add.at(found[rows].T, places, part.counts.T)
        row = rows.stop
    edges = log_edge(np.arange(begin, end + 1)).astype(np.float64)
    edges[0] = 0
    return found, edges
