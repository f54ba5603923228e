"""Sketches of columns: what two latents of any two indexes of one corpus are compared by before their columns are.

The sketch of a latent is its column, less its mean, with a random sign for every position, summed into a few buckets
(the count sketch of Charikar et al. 2002; signs and buckets depend on the position alone, so that indexes made apart
are comparable). The cosine of two sketches estimates the correlation of the activations with a standard error of
1 / sqrt(`WIDTH`), 0.06, however long the corpus is. Sketches and directions are kept alike, as bytes: vectors in steps
of a 127th of their largest coordinate, read back with norm 1.
"""

import numpy as np
from numpy.typing import NDArray

from sparselex.features.examples import uniform

WIDTH = 256
"""Buckets of a sketch."""

_SEED = 20021
"""Of signs and buckets: one for all indexes."""

_CHUNK = 1 << 22


def cells(n_positions: int) -> NDArray[np.uint16]:
    """`[n_positions]`: twice the bucket of each position of a corpus, and one more where its sign is negative."""
    found = np.empty(n_positions, dtype=np.uint16)
    for start in range(0, n_positions, _CHUNK):
        stop = min(start + _CHUNK, n_positions)
        found[start:stop] = np.ceil(uniform(np.arange(start, stop), _SEED) * (2 * WIDTH)) - 1
    return found


def sketched(
    counts: NDArray[np.int64], positions: NDArray, values: NDArray[np.float32], cell: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[n_latents, WIDTH]` sketches of a group of columns, their means not yet taken off, and `[n_latents]` sums of the
    columns.

    Args:
        counts: `[n_latents]`, entries of each column.
        positions: `[n_entries]`, the columns one after another.
        values: `[n_entries]`, activations there.
        cell: what `cells` gives for the whole corpus.
    """
    places = np.repeat(np.arange(len(counts)) * (2 * WIDTH), counts)
    places += cell[positions]
    sums = np.bincount(places, values, len(counts) * 2 * WIDTH).astype(np.float64, copy=False).reshape(len(counts), -1)
    return _signed(sums), sums.sum(1)


def sketched_ones(counted: NDArray[np.bool_], cell: NDArray[np.uint16]) -> NDArray[np.float64]:
    """`[WIDTH]`, the sketch of what is 1 on every counted position."""
    return _signed(np.bincount(cell[counted], minlength=2 * WIDTH).astype(np.float64))


def _signed(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums[..., ::2] - sums[..., 1::2]


def as_bytes(rows: NDArray) -> NDArray[np.int8]:
    """Directions of rows in steps of a 127th of each row's largest coordinate; rows of zeros stay.

    The cosine of two rows so kept is within about 0.002 of what it was.
    """
    largest = np.abs(rows).max(1, keepdims=True)
    return np.rint(rows * (127 / np.where(largest > 0, largest, 1))).astype(np.int8)


def cosines(rows: NDArray[np.int8], one: NDArray[np.int8]) -> NDArray[np.float32]:
    """`[n]`, the cosine of each row with `one`, all as `as_bytes` gives them; 0 for rows of zeros."""
    vector, found = _unit(one[None])[0], np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        found[start : start + _ROWS] = _unit(rows[start : start + _ROWS]) @ vector
    return found


_ROWS = 1024


def _unit(rows: NDArray[np.int8]) -> NDArray[np.float32]:
    wide = rows.astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    wide /= np.maximum(norms, 1)[:, None]
    return wide
