"""Where latents are ablated, and where they are added: places in test documents."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import derive, generator
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.records import KINDS
from sparselex.features.counted import Column
from sparselex.features.examples import Entries, Table, interval_examples, top
from sparselex.features.index import FeatureIndex

TOP, RANDOM, INTERVAL, SILENT = range(len(KINDS))

_GROUP = 256
"""Latents whose columns are looked at together."""


class Places(NamedTuple):
    """Places of several latents, those of a latent together."""

    latent: NDArray[np.int64]
    """`[n]`, which latent."""

    kind: NDArray[np.int64]
    """`[n]`, number of the kind of place."""

    position: NDArray[np.int64]
    """`[n]`, where in the corpus."""

    value: NDArray[np.float32]
    """`[n]`, the activation that an ablation takes away there; where it is silent, what is added."""

    def of(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Places":
        """The chosen ones."""
        return Places(self.latent[which], self.kind[which], self.position[which], self.value[which])

    @staticmethod
    def join(parts: "Sequence[Places]") -> "Places":
        """One after another."""
        none = np.empty(0, dtype=np.int64)
        return Places(
            np.concatenate([none, *(part.latent for part in parts)]),
            np.concatenate([none, *(part.kind for part in parts)]),
            np.concatenate([none, *(part.position for part in parts)]),
            np.concatenate([none.astype(np.float32), *(part.value for part in parts)]),
        )


def drawn_latents(index: FeatureIndex, rows: NDArray[np.int64], config: EffectsConfig) -> NDArray[np.int64]:
    """The latents that are measured, ascending: active in these test rows, at most so many as are asked for."""
    in_rows, found = _flags(index, rows), list[int]()
    for latent in generator(config.seed, "effects", "latents").permutation(index.d_sae).tolist():
        if in_rows[index.split_column(latent, "test")[0] // index.corpus.n_ctx].any():
            found.append(latent)
        if len(found) == config.latents:
            break
    return np.sort(np.array(found, dtype=np.int64))


def index_places(
    index: FeatureIndex, latents: NDArray[np.int64], rows: NDArray[np.int64], config: EffectsConfig
) -> Places:
    """Places of latents of an index in some test rows."""
    n_ctx, in_rows = index.corpus.n_ctx, _flags(index, rows)
    counted = index.counted_tokens("test").positions
    counted = counted[in_rows[counted // n_ctx]]
    found = []
    for group in np.split(latents, np.arange(_GROUP, len(latents), _GROUP)):
        columns = [_within(*index.split_column(int(latent), "test"), in_rows, n_ctx) for latent in group]
        sizes = [len(positions) for positions, _ in columns]
        entries = Entries(
            np.repeat(np.arange(len(group)), sizes),
            np.concatenate([np.empty(0, np.int64), *(positions for positions, _ in columns)]),
            np.concatenate([np.empty(0, np.float32), *(values for _, values in columns)]),
        )
        found.append(places(entries, group, counted, n_ctx, config))
    return Places.join(found)


def _flags(index: FeatureIndex, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    found = np.zeros(index.corpus.n_rows, dtype=bool)
    found[rows] = True
    return found


def _within(
    positions: NDArray[np.int64], values: NDArray[np.float32], in_rows: NDArray[np.bool_], n_ctx: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    kept = in_rows[positions // n_ctx]
    return positions[kept], values[kept]


def places(
    entries: Entries, latents: NDArray[np.int64], counted: NDArray[np.int64], n_ctx: int, config: EffectsConfig
) -> Places:
    """Places of some latents, whose `entries` number them from 0; `counted` are all positions that were looked at,
    ascending. Of kinds of which a latent has too few places it has fewer, and one that is nowhere active has none."""
    n = len(latents)
    largest = np.zeros(n)
    np.maximum.at(largest, entries.latent, np.abs(entries.value))
    seeds = {kind: derive(config.seed, "effects", kind) % 2**32 for kind in KINDS}
    drawn, _ = interval_examples(entries, largest, n_ctx, 1, config.n_random, seeds["random"])
    ranges, _ = interval_examples(entries, largest, n_ctx, config.n_intervals, 1, seeds["interval"])
    by_range = Table(ranges.position.reshape(n, -1), ranges.value.reshape(n, -1))
    parts = [
        _listed(table, latents, kind)
        for kind, table in (
            (TOP, top(entries, largest, n_ctx, config.n_top)),
            (RANDOM, drawn),
            (INTERVAL, by_range),
        )
    ]
    bounds = np.searchsorted(entries.latent, np.arange(n + 1))
    for number, column in enumerate(_columns(entries, bounds, counted)):
        if not len(column.ranks):  # nothing of it is measured
            continue
        positions = _silent(column, counted, n_ctx, int(latents[number]), config)
        strengths = drawn.value[number][drawn.position[number] >= 0]
        values = np.resize(strengths, len(positions)).astype(np.float32)
        kinds = np.full(len(positions), SILENT)
        parts.append(Places(np.full(len(positions), latents[number]), kinds, positions, values))
    found = Places.join(parts)
    return found.of(np.lexsort((found.kind, found.latent)))


def _columns(entries: Entries, bounds: NDArray, counted: NDArray[np.int64]) -> Iterator[Column]:
    for start, stop in pairwise(bounds.tolist()):
        ranks = np.searchsorted(counted, entries.position[start:stop])
        yield Column(ranks, entries.value[start:stop].astype(np.float64))


def _silent(
    column: Column, counted: NDArray[np.int64], n_ctx: int, latent: int, config: EffectsConfig
) -> NDArray[np.int64]:
    """Counted positions at which a latent is not active, drawn at random, at most one a row."""
    n_silent = len(counted) - len(column.ranks)
    rng = generator(config.seed, "effects", "silent", latent)
    # Some fall into one row: more are drawn than are needed.
    draws = rng.integers(0, max(1, n_silent), size=8 * config.n_silent if n_silent else 0)
    positions = counted[column.silent(draws)]
    first = np.sort(np.unique(positions // n_ctx, return_index=True)[1])
    return positions[first[: config.n_silent]]


def _listed(table: Table, latents: NDArray[np.int64], kind: int) -> Places:
    there = table.position >= 0
    owner = np.repeat(latents, table.position.shape[1]).reshape(table.position.shape)[there]
    return Places(owner, np.full(len(owner), kind), table.position[there], table.value[there])
