"""Histograms, examples and tokens from columns: vectorised over all latents of a group, no loop over latents.

`Entries` are the columns of a group of latents one after another; `latent` counts from 0 within the group.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.features.records import Example


class Entries(NamedTuple):
    """Active places of a group of latents, ordered by latent, then position."""

    latent: NDArray[np.int64]
    position: NDArray[np.integer]
    value: NDArray[np.float32]

    def take(self, which: NDArray) -> "Entries":
        """The chosen entries."""
        return Entries(self.latent[which], self.position[which], self.value[which])


class Table(NamedTuple):
    """A fixed number of examples for each latent; unused places hold position -1."""

    position: NDArray[np.int64]
    value: NDArray[np.float32]


class Tally(NamedTuple):
    """The tokens on which each latent is active most often; unused places hold token -1 and count 0."""

    token: NDArray[np.int64]
    n: NDArray[np.int64]


def bin_of(entries: Entries, largest: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Bin of each entry: bin `b` of latent `j` is `(b, b + 1] * largest[j] / n_bins`, by size."""
    share = np.abs(entries.value).astype(np.float64)
    share *= n_bins
    share /= largest[entries.latent]
    bins = np.ceil(share, out=share).astype(np.int64)
    bins -= 1
    return bins.clip(0, n_bins - 1, out=bins)


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
    new[1:] = (entries.latent[1:] != entries.latent[:-1]) | (row[1:] != row[:-1])
    starts = np.flatnonzero(new)
    size = np.abs(entries.value)
    run = np.cumsum(new) - 1
    largest = np.flatnonzero(size == np.maximum.reduceat(size, starts)[run])
    return entries.take(largest[np.searchsorted(run[largest], np.arange(len(starts)))])


def top(entries: Entries, largest: NDArray[np.float64], n_ctx: int, n_top: int) -> Table:
    """The `n_top` largest entries of each latent, one a row, earlier positions first among equals."""
    found, enough = _top(_near_the_peak(entries, largest, n_top), len(largest), n_ctx, n_top)
    few = ~enough & (np.bincount(entries.latent, minlength=len(largest)) > 0)
    if few.any():  # many of its largest in one row: all are looked at
        again, _ = _top(entries.take(few[entries.latent]), len(largest), n_ctx, n_top)
        found.position[few], found.value[few] = again.position[few], again.value[few]
    return found


_STEPS, _FOLD = 16, 4
"""Parts of a latent's range, and how many times the places needed must lie above a bar. Sorting all entries would cost
far more than the pass itself."""


def _near_the_peak(entries: Entries, largest: NDArray[np.float64], n_top: int) -> Entries:
    """Those entries that are larger than a bar for each latent, some times as many as are wanted."""
    n = len(largest)
    scale = np.divide(_STEPS, largest, out=np.zeros(n), where=largest > 0).astype(np.float32)
    step = (np.abs(entries.value) * scale[entries.latent]).astype(np.int64)
    np.minimum(step, _STEPS - 1, out=step)
    counts = np.bincount(entries.latent * _STEPS + step, minlength=n * _STEPS).reshape(n, _STEPS)
    above = counts[:, ::-1].cumsum(1)[:, ::-1]
    bar = np.maximum((above >= _FOLD * n_top).sum(1) - 1, 0)
    return entries.take(step >= bar[entries.latent])


def _top(entries: Entries, n_latents: int, n_ctx: int, n_top: int) -> tuple[Table, NDArray[np.bool_]]:
    """The largest of these entries, and for which latents they fill the list."""
    best = best_of_rows(entries, n_ctx)
    order = np.lexsort((best.position, -np.abs(best.value), best.latent))
    enough = np.bincount(best.latent, minlength=n_latents) >= n_top
    return _table(best.take(order), best.latent[order], n_latents, n_top), enough


def interval_examples(
    entries: Entries, largest: NDArray[np.float64], n_ctx: int, n_intervals: int, n_each: int, seed: int
) -> tuple[Table, NDArray[np.int64]]:
    """`n_each` entries of each latent from each of `n_intervals` equal ranges, drawn without replacement, one a row and
    range.

    Returns the table `[n_latents * n_intervals, n_each]` and the number of tokens in each range. The draw is by a hash
    of position and seed, so it depends neither on the order of work nor on other latents.
    """
    cell = entries.latent * n_intervals + bin_of(entries, largest, n_intervals)
    return drawn(entries, cell, len(largest) * n_intervals, n_ctx, n_each, seed)


def drawn(
    entries: Entries, cell: NDArray[np.int64], n_cells: int, n_ctx: int, n_each: int, seed: int
) -> tuple[Table, NDArray[np.int64]]:
    """`n_each` entries of each cell, drawn by a hash of position and seed, one a row; and the entries of each cell."""
    counts = np.bincount(cell, minlength=n_cells)
    key = uniform(entries.position, seed)
    # Low keys are drawn first: what lies above the bar of its cell is hardly ever reached.
    bar = _FOLD * n_each / np.maximum(counts, 1)
    found, enough = _drawn(entries, cell, key, np.flatnonzero(key <= bar[cell]), n_cells, n_ctx, n_each)
    few = ~enough & (bar < 1)
    if few.any():
        again, _ = _drawn(entries, cell, key, np.flatnonzero(few[cell]), n_cells, n_ctx, n_each)
        found.position[few], found.value[few] = again.position[few], again.value[few]
    return found, counts


def _drawn(
    entries: Entries, cell: NDArray, key: NDArray, among: NDArray[np.int64], n_cells: int, n_ctx: int, n_each: int
) -> tuple[Table, NDArray[np.bool_]]:
    """What is drawn of these entries, and for which cells it is enough."""
    among = among[np.argsort(cell[among] + key[among], kind="stable")]
    entries, cell = entries.take(among), cell[among]
    row = entries.position // n_ctx
    first = np.unique(cell * (int(row.max(initial=0)) + 1) + row, return_index=True)[1]
    first.sort()
    enough = np.bincount(cell[first], minlength=n_cells) >= n_each
    return _table(entries.take(first), cell[first], n_cells, n_each), enough


def tally(entries: Entries, tokens: NDArray, n_latents: int, n_vocab: int, n: int) -> Tally:
    """The `n` tokens on which each latent is active most often, the most frequent first, lower ids first among equals.

    `tokens` are the ids at the entries' positions.
    """
    pairs, count = _counted_pairs(entries.latent, tokens, n_latents, n_vocab)
    latent = pairs // n_vocab
    # Most tokens of a latent occur once: they are sorted only where there are not enough others.
    often = count > 1
    kept = often | (np.bincount(latent[often], minlength=n_latents) < n)[latent]
    latent, token, count = latent[kept], pairs[kept] % n_vocab, count[kept]
    order = np.lexsort((token, -count, latent))
    place, there = _places(latent[order], n_latents, n)
    found = Tally(np.full((n_latents, n), -1), np.zeros((n_latents, n), dtype=np.int64))
    for into, values in ((found.token, token), (found.n, count)):
        into[place] = values[order][there]
    return found


_CELLS_PER_ENTRY = 8
"""Cells of a table of latents by tokens for each entry, up to which counting into it is faster than sorting."""


def _counted_pairs(
    latents: NDArray[np.int64], tokens: NDArray, n_latents: int, n_vocab: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pairs of latent and token there are, as `latent * n_vocab + token`, ascending; and how often each."""
    n_cells = n_latents * n_vocab
    if n_cells <= _CELLS_PER_ENTRY * len(latents):
        cells = latents * n_vocab
        cells += tokens
        times = np.bincount(cells, minlength=n_cells)
        pairs = np.flatnonzero(times)
        return pairs, times[pairs]
    pairs = latents.astype(np.uint32 if n_cells <= 2**32 else np.uint64)
    pairs *= n_vocab
    pairs += tokens.astype(pairs.dtype)
    pairs.sort()
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(pairs), 1), dtype=bool), pairs[1:] != pairs[:-1]]))
    return pairs[starts].astype(np.int64), np.diff(np.append(starts, len(pairs)))


def _table(entries: Entries, group: NDArray[np.int64], n_groups: int, width: int) -> Table:
    """The first `width` entries of each group; `group` ascends."""
    place, there = _places(group, n_groups, width)
    position = np.full((n_groups, width), -1, dtype=np.int64)
    value = np.zeros((n_groups, width), dtype=np.float32)
    position[place] = entries.position[there]
    value[place] = entries.value[there]
    return Table(position, value)


def _places(
    group: NDArray[np.int64], n_groups: int, width: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]:
    """Row and column, in a table of `width` columns, of the first entries of each group, and which they are; `group`
    ascends."""
    starts = np.searchsorted(group, np.arange(n_groups))
    rank = np.arange(len(group)) - starts[group]
    there = np.flatnonzero(rank < width)
    return (group[there], rank[there]), there


def uniform(position: NDArray[np.integer], seed: int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1] from position and seed (the 32-bit finaliser of MurmurHash3, Appleby 2011; of positions
    beyond 2^32 the upper bits are mixed in)."""
    low = position.astype(np.uint32)
    if position.dtype.itemsize > 4:
        low = low ^ _mixed((position >> 32).astype(np.uint32))
    begin = _mixed(np.array([(seed ^ seed >> 32 ^ 0x9E3779B9) & 0xFFFFFFFF], dtype=np.uint32))
    return (_mixed(low ^ begin).astype(np.float64) + 1) / 2.0**32


def _mixed(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
    h = h ^ (h >> np.uint32(16))
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def examples_of(positions: NDArray, values: NDArray) -> list[Example]:
    """Places as records; unused ones, position -1, are left out."""
    return [
        Example(position=int(position), value=float(value))
        for position, value in zip(positions, values, strict=True)
        if position >= 0
    ]
