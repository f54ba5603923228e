"""Places of the training split at which a latent is active, chosen out of its whole column by what a reader asks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.features.examples import Entries, examples_of, interval_examples
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example

_AHEAD = 32
"""Times as many places as are shown are sorted first: some fall into one row."""


def near_level(index: FeatureIndex, latent: int, level: float, n: int) -> list[Example]:
    """The `n` places whose activation by size is nearest to `level`, the nearest first, at most one a row."""
    positions, values = index.split_column(latent, "train")
    away = np.abs(np.abs(values) - np.float32(level))
    if len(away) > _AHEAD * n:
        near = np.flatnonzero(away <= np.partition(away, _AHEAD * n)[_AHEAD * n])
        found = _one_a_row(index, positions[near], values[near], away[near], n)
        if len(found) == n:
            return found
    return _one_a_row(index, positions, values, away, n)


def in_range(index: FeatureIndex, latent: int, low: float, high: float, n: int, seed: int) -> tuple[list[Example], int]:
    """`n` places with an activation by size above `low` and at most `high`, drawn at random, at most one a row, the
    largest first; and at how many it lies there."""
    positions, values = index.split_column(latent, "train")
    sizes = np.abs(values)
    inside = (sizes > np.float32(low)) & (sizes <= np.float32(high))
    positions, values = positions[inside], values[inside]
    if not len(positions):
        return [], 0
    entries = Entries(np.zeros(len(positions), dtype=np.int64), positions, values)
    drawn = interval_examples(entries, np.array([float(sizes.max())]), index.corpus.n_ctx, 1, n, seed)[0]
    there = drawn.position[0] >= 0
    found = examples_of(drawn.position[0][there], drawn.value[0][there])
    return sorted(found, key=lambda example: -abs(example.value)), len(positions)


def on_tokens(index: FeatureIndex, latent: int, tokens: Sequence[int], n: int) -> tuple[list[Example], int]:
    """The `n` largest activations on any of `tokens`, at most one a row; and on how many of them it is active."""
    positions, values = index.split_column(latent, "train")
    there = np.isin(np.asarray(index.corpus.tokens).reshape(-1)[positions], tokens)
    positions, values = positions[there], values[there]
    return _one_a_row(index, positions, values, -np.abs(values), n), len(positions)


def _one_a_row(
    index: FeatureIndex, positions: NDArray[np.int64], values: NDArray[np.float32], key: NDArray, n: int
) -> list[Example]:
    """The `n` places with the lowest keys, earlier ones first among equals, at most one a row."""
    order = np.argsort(key, kind="stable")
    rows = positions[order] // index.corpus.n_ctx
    chosen = order[np.sort(np.unique(rows, return_index=True)[1])[:n]]
    return examples_of(positions[chosen], values[chosen])
