"""What an index keeps of any number of tokens where it does not keep every activation: counts, and samples of places.

A `Kept` of one part of a text and one of another `merge` into that of both: all that decides which places stay is the
places themselves, so that neither the order nor the number of the parts matters. Sums alone are rounded, and so parts
are merged in a fixed tree. Of each latent stay the largest places and those of the lowest hash, of all places and of
each bin of its histogram, with whatever else it has in their rows: an example is shown with the text around it.
"""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import derive
from sparselex.features.chunks import Chunk, Read, by_latent, position_dtype
from sparselex.features.config import IndexConfig
from sparselex.features.examples import Entries, Table, bin_of, drawn, tally, top
from sparselex.features.measured import N_TOKENS, kept_table
from sparselex.features.ranges import groups
from sparselex.features.stats import LOG_BINS, LogCounts, log_counts, log_histograms, statistics
from sparselex.text.rows import TokenRows, split_positions
from sparselex.text.splits import SPLITS

N_BINS = 64
"""Bins of the histogram, equal parts of a power of two that is at least the largest activation: when that grows, pairs
of bins become one, and no count is estimated."""

N_TALLIED = 100
"""Places drawn at least of each latent, from which its tokens are told."""


class Kept(NamedTuple):
    """Of some part of a text."""

    n_tokens: NDArray[np.int64]
    """`[n_splits]`, tokens counted."""

    n_outliers: NDArray[np.int64]
    """`[1]`, tokens left out for their norm."""

    token_counts: NDArray[np.int64]
    """`[n_vocab]`, how often each token was counted."""

    n_active: NDArray[np.int64]
    """`[d_sae, n_splits]`, and likewise the sums, in float64, and the extremes."""

    sum: NDArray[np.float64]
    sum_square: NDArray[np.float64]
    max: NDArray[np.float64]

    log_lowest: NDArray[np.int64]
    """`[1]`, number of the first bin of `log_counts`."""

    log_counts: NDArray[np.int64]
    """`[d_sae, n]`, in log-spaced bins."""

    doublings: NDArray[np.int64]
    """`[d_sae]`, the bins of `bins` divide `2 ** doublings`."""

    bins: NDArray[np.int64]
    """`[d_sae, 2, N_BINS]`, of the training split and of the others."""

    indptr: NDArray[np.int64]
    """`[d_sae + 1]`, the columns of places that stay, and likewise `position` and `value`."""

    position: NDArray[np.integer]
    value: NDArray[np.float32]

    @classmethod
    def of(cls, chunk: Chunk, read: Read, d_sae: int, corpus: TokenRows, config: IndexConfig) -> "Kept":
        """Of one chunk. Raises `UserError` for codes that are not finite."""
        positions, indptr, position, value = by_latent(read, d_sae, position_dtype(corpus))
        latent = np.repeat(np.arange(d_sae), np.diff(indptr))
        entries, split = Entries(latent, position, value), SPLITS.index(chunk.split)
        counts = np.zeros((len(SPLITS), d_sae), dtype=np.int64)
        counts[split] = np.diff(indptr)
        found, logs = statistics(entries, counts), log_counts(entries, d_sae)
        doublings = _doublings(np.abs(found["max"]).max(1))
        cell = latent * N_BINS + bin_of(entries, powers(doublings), N_BINS)
        bins = np.zeros((d_sae, 2, N_BINS), dtype=np.int64)
        bins[:, int(chunk.split != "train")] = np.bincount(cell, minlength=d_sae * N_BINS).reshape(d_sae, N_BINS)
        tokens, n_tokens = corpus.tokens.reshape(-1)[positions], np.zeros(len(SPLITS), dtype=np.int64)
        n_tokens[split] = len(positions)
        whole = cls(
            n_tokens,
            np.array([read.n_outliers]),
            np.bincount(tokens, minlength=len(corpus.vocabulary)),
            log_lowest=np.array([logs.lowest]),
            log_counts=logs.counts,
            doublings=doublings,
            bins=bins,
            indptr=indptr,
            position=position,
            value=value,
            **found,
        )
        return whole.thinned(corpus, config)

    def merge(self, other: "Kept", corpus: TokenRows, config: IndexConfig) -> "Kept":
        """Of both, whose texts have nothing in common."""
        logs, lowest = _summed_logs(self, other)
        doublings = np.maximum(self.doublings, other.doublings)
        n_vocab = max(len(self.token_counts), len(other.token_counts))
        both = Kept(
            self.n_tokens + other.n_tokens,
            self.n_outliers + other.n_outliers,
            np.sum([np.pad(k.token_counts, (0, n_vocab - len(k.token_counts))) for k in (self, other)], axis=0),
            self.n_active + other.n_active,
            self.sum + other.sum,
            self.sum_square + other.sum_square,
            np.where(np.abs(other.max) > np.abs(self.max), other.max, self.max),
            np.array([lowest]),
            logs,
            doublings,
            self.folded(doublings) + other.folded(doublings),
            *_together(self, other),
        )
        return both.thinned(corpus, config)

    def folded(self, doublings: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[d_sae, 2, N_BINS]`, its bins as parts of larger powers of two."""
        found, shift = np.zeros_like(self.bins), np.minimum(doublings - self.doublings, 62)
        row, to = np.arange(len(shift))[:, None], np.arange(N_BINS) >> shift[:, None]
        for which in range(2):
            np.add.at(found[:, which], (row, to), self.bins[:, which])
        return found

    def thinned(self, corpus: TokenRows, config: IndexConfig) -> "Kept":
        """With those places alone that stay."""
        stays = np.zeros(len(self.position), dtype=bool)
        for group in groups(self.indptr):
            span = slice(int(self.indptr[group.start]), int(self.indptr[group.stop]))
            stays[span] = _stays(self.entries(group), self.doublings[group], corpus, config)
        kept = np.concatenate([[0], stays.cumsum()])
        return self._replace(indptr=kept[self.indptr], position=self.position[stays], value=self.value[stays])

    def entries(self, latents: slice) -> Entries:
        """The places of a range of latents that stay."""
        span = slice(int(self.indptr[latents.start]), int(self.indptr[latents.stop]))
        counts = np.diff(self.indptr[latents.start : latents.stop + 1])
        return Entries(np.repeat(np.arange(len(counts)), counts), self.position[span], self.value[span])

    def to_bytes(self) -> bytes:
        """As one file."""
        file = io.BytesIO()
        np.savez(file, **self._asdict())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Kept":
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(data)) as found:
            return cls(**{name: found[name] for name in cls._fields})


def measured_of(kept: Kept, corpus: TokenRows, config: IndexConfig) -> dict[str, NDArray]:
    """What an index keeps of each latent, by name, from counts and samples."""
    found: dict[str, NDArray] = {name: getattr(kept, name) for name in ("n_active", "sum", "sum_square", "max")}
    counts, edges = log_histograms([LogCounts(int(kept.log_lowest[0]), kept.log_counts)])
    found |= {
        "histogram": kept.bins.sum(1),
        "histogram-top": powers(kept.doublings),
        "log-histogram": counts,
        "log-edges": edges,
    }
    parts = [_drawn_of(kept, group, corpus, config) for group in groups(kept.indptr)]
    return found | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _drawn_of(kept: Kept, latents: slice, corpus: TokenRows, config: IndexConfig) -> dict[str, NDArray]:
    entries, n, n_ctx = kept.entries(latents), latents.stop - latents.start, corpus.n_ctx
    in_train = entries.position < split_positions(corpus, "train").stop
    train, bins, top_of_bins = entries.take(in_train), kept.bins[latents, 0], powers(kept.doublings[latents])
    peak = np.abs(kept.max[latents, SPLITS.index("train")])
    # Whole bins to each range, so that what a range has is counted and not estimated.
    used = np.ceil(peak * N_BINS / top_of_bins).astype(np.int64)
    width = np.maximum(1, -(-used // config.n_intervals))
    range_of = np.minimum(np.arange(N_BINS) // width[:, None], config.n_intervals - 1)
    in_range = np.zeros((n, config.n_intervals), dtype=np.int64)
    np.add.at(in_range, (np.arange(n)[:, None], range_of), bins)
    place = range_of[train.latent, bin_of(train, top_of_bins, N_BINS)]
    cell = train.latent * config.n_intervals + place
    seed = derive(config.seed, "intervals")
    ranges, _ = drawn(train, cell, n * config.n_intervals, n_ctx, config.n_per_interval, seed)
    n_drawn = max(config.n_random, N_TALLIED)
    places, _ = drawn(train, train.latent, n, n_ctx, n_drawn, derive(config.seed, "random"))
    latent, column = np.nonzero(places.position >= 0)
    there = Entries(latent, places.position[latent, column], places.value[latent, column])
    tokens = corpus.tokens.reshape(-1)[there.position]
    often = tally(there, tokens, n, max(len(corpus.vocabulary), int(tokens.max(initial=0)) + 1), N_TOKENS)
    shown = Table(places.position[:, : config.n_random], places.value[:, : config.n_random])
    return {
        "interval-top": top_of_bins * width * config.n_intervals / N_BINS,
        "interval-counts": in_range,
        **kept_table("top", top(train, peak, n_ctx, config.n_top), n),
        **kept_table("interval", ranges, n, config.n_intervals),
        **kept_table("random", shown, n),
        "tally-tokens": often.token,
        "tally-counts": often.n,
        "tally-total": np.bincount(latent, minlength=n),
    }


def _stays(entries: Entries, doublings: NDArray[np.int64], corpus: TokenRows, config: IndexConfig) -> NDArray[np.bool_]:
    """`[n]`, whether a place stays: in each split those of the largest and the drawn, and all others of their rows."""
    n, n_ctx = len(doublings), corpus.n_ctx
    row = entries.position // n_ctx
    seeds = {name: derive(config.seed, name) for name in ("random", "intervals")}
    wanted = []
    for split in SPLITS:
        rows = corpus.row_ranges[split]
        part = entries.take((row >= rows.start) & (row < rows.stop))
        size = np.zeros(n)
        np.maximum.at(size, part.latent, np.abs(part.value))
        tables = [top(part, size, n_ctx, config.n_top)]
        n_drawn = max(config.n_random, N_TALLIED)
        tables.append(drawn(part, part.latent, n, n_ctx, n_drawn, seeds["random"])[0])
        if split == "train":
            cell = part.latent * N_BINS + bin_of(part, powers(doublings), N_BINS)
            each = drawn(part, cell, n * N_BINS, n_ctx, config.n_per_interval, seeds["intervals"])[0]
            tables.append(Table(each.position.reshape(n, -1), each.value.reshape(n, -1)))
        for table in tables:
            latent, column = np.nonzero(table.position >= 0)
            wanted.append(_key(latent, table.position[latent, column], corpus))
    return np.isin(_key(entries.latent, entries.position, corpus), np.unique(np.concatenate(wanted)))


def _key(latent: NDArray[np.int64], position: NDArray, corpus: TokenRows) -> NDArray[np.int64]:
    """A number for each latent and row."""
    found: NDArray[np.int64] = latent * corpus.n_rows + position.astype(np.int64) // corpus.n_ctx
    return found


def _doublings(largest: NDArray[np.float64]) -> NDArray[np.int64]:
    """The lowest power of two that is at least each size; of latents that are never active the lowest there is."""
    mantissa, exponent = np.frexp(largest)
    return np.where(largest > 0, exponent - (mantissa == 0.5), _LEAST).astype(np.int64)


_LEAST = -200


def powers(doublings: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the last bin ends."""
    return np.ldexp(1.0, doublings)


def _summed_logs(one: Kept, other: Kept) -> tuple[NDArray[np.int64], int]:
    """Log-spaced counts of both, and their lowest bin: of the bins that can still be among those that are shown."""
    there = [part for part in (one, other) if part.log_counts.shape[1]]
    if not there:
        return one.log_counts, int(one.log_lowest[0])
    begins = [int(part.log_lowest[0]) for part in there]
    end = max(begin + part.log_counts.shape[1] for begin, part in zip(begins, there, strict=True))
    begin = max(min(begins), end - LOG_BINS)
    found = np.zeros((len(one.doublings), end - begin), dtype=np.int64)
    for first, part in zip(begins, there, strict=True):
        to = np.maximum(first + np.arange(part.log_counts.shape[1]) - begin, 0)
        np.add.at(found.T, to, part.log_counts.T)
    return found, begin


def _together(one: Kept, other: Kept) -> tuple[NDArray[np.int64], NDArray, NDArray[np.float32]]:
    """The columns of both in one, positions ascending."""
    latent = np.concatenate([np.repeat(np.arange(len(k.doublings)), np.diff(k.indptr)) for k in (one, other)])
    position, value = np.concatenate([one.position, other.position]), np.concatenate([one.value, other.value])
    order = np.lexsort((position, latent))
    return one.indptr + other.indptr, position[order], value[order]
