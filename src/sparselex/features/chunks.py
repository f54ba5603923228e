"""Chunks of rows: the unit in which an index is built, kept when it is stopped, and shared among processes.

A chunk's file holds the active places of its rows ordered by latent. It is written aside and renamed: one that is there
is whole, and nobody reads its rows again. Which rows a chunk has depends on the text and the configuration alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from sparselex.activations.live import spread
from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.features.config import IndexConfig
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS, Split

FEWEST_TOKENS, MOST_TOKENS = 1 << 15, 1 << 18
"""Positions in a chunk: what a stop may lose, and what is held in memory; a few hundred chunks where both allow."""

_CHUNKS = 256
_HEAD = ("n_tokens", "n_outliers", "n_entries", "n_read")


class Chunk(NamedTuple):
    """Rows of one split that are read together."""

    number: int
    split: Split
    rows: NDArray[np.int64]


class Read(NamedTuple):
    """What the model and the coder gave for the rows of a chunk, batch by batch."""

    positions: list[NDArray[np.int64]]
    """Of the counted tokens."""

    codes: list[tuple[NDArray, ...]]
    """`indptr`, latents and values of each batch."""

    n_outliers: int
    """Tokens left out for their norm."""

    x: list[NDArray[np.float32]]
    """What was read at the sampled ones of these tokens, `[n, d_in]` each."""


def n_rows(corpus: TokenRows, split: Split, config: IndexConfig) -> int:
    """Rows of a split that an index of this configuration reads."""
    n = len(corpus.row_ranges[split])
    return min(n, config.train_rows or n) if split == "train" else n


def n_indexed(corpus: TokenRows, config: IndexConfig) -> int:
    """Positions that an index of this configuration reads."""
    return sum(n_rows(corpus, split, config) for split in SPLITS) * corpus.n_ctx


def indexed_rows(corpus: TokenRows, config: IndexConfig) -> dict[Split, NDArray[np.int64]]:
    """The rows of each split that an index of this configuration reads."""
    return {
        split: spread(corpus.row_ranges[split], config.train_rows if split == "train" else None) for split in SPLITS
    }


def planned(corpus: TokenRows, config: IndexConfig, batch_rows: int) -> list[Chunk]:
    """All chunks in the order of the corpus, in whole batches but for the last of a split."""
    wanted = min(max(n_indexed(corpus, config) // _CHUNKS, FEWEST_TOKENS), MOST_TOKENS) // corpus.n_ctx
    size, found = max(1, wanted // batch_rows) * batch_rows, list[Chunk]()
    for split, rows in indexed_rows(corpus, config).items():
        for start in range(0, len(rows), size):
            found.append(Chunk(len(found), split, rows[start : start + size]))
    return found


class ChunkFiles:
    """The chunks of one index as files in `folder`: `[n_latents + 1]` offsets, positions, values, what was read
    at sampled tokens, and which of the chunk's positions were counted."""

    def __init__(self, folder: Path, chunks: Sequence[Chunk], d_sae: int, corpus: TokenRows):
        self.folder, self.chunks, self.d_sae, self.n_ctx = folder, chunks, d_sae, corpus.n_ctx
        self.dtype = position_dtype(corpus)

    def has(self, chunk: Chunk) -> bool:
        """Whether a chunk is finished."""
        path = self._path(chunk)
        return path.exists() and path.stat().st_size == self._starts(chunk)[-1]

    def write(self, chunk: Chunk, read: Read) -> None:
        """Order a chunk's codes by latent and write them. Raises `UserError` for codes that are not finite: finite
        weights can make them of finite activations."""
        positions, indptr, position, value = by_latent(read, self.d_sae, self.dtype)
        counted = np.isin(self._all(chunk), positions, assume_unique=True)
        x = np.concatenate([*(part.ravel() for part in read.x), np.empty(0, dtype=np.float32)])
        head = np.array([len(positions), read.n_outliers, len(value), len(x)], dtype=np.int64)
        parts = (head, indptr, position, value, x, np.packbits(counted))
        write_file(self._path(chunk), b"".join(part.tobytes() for part in parts))

    def counts(self, chunk: Chunk) -> dict[str, int]:
        """`n_tokens` counted, `n_outliers` left out for their norm, `n_entries` of all latents, `n_read` numbers that
        were kept of what was read."""
        return dict(zip(_HEAD, self._part(chunk, np.int64, 0, len(_HEAD)).tolist(), strict=True))

    def offsets(self, chunk: Chunk) -> NDArray[np.int64]:
        """`[d_sae + 1]`, where each latent's entries begin in the chunk."""
        return self._part(chunk, np.int64, 8 * len(_HEAD), self.d_sae + 1)

    def entries(self, chunk: Chunk, start: int, stop: int) -> tuple[NDArray, NDArray[np.float32]]:
        """Positions and values of the entries `start` to `stop` of the chunk."""
        places, values = self._starts(chunk)[1:3]
        n = stop - start
        return (
            self._part(chunk, self.dtype, places + start * self.dtype.itemsize, n),
            self._part(chunk, np.float32, values + 4 * start, n),
        )

    def x(self, d_in: int) -> NDArray[np.float32]:
        """`[n, d_in]`, what was read at the sampled tokens, in the order of the corpus."""
        parts = (
            self._part(chunk, np.float32, self._starts(chunk)[3], self.counts(chunk)["n_read"]) for chunk in self.chunks
        )
        return np.concatenate(list(parts)).reshape(-1, d_in)

    def counted(self) -> Iterator[NDArray[np.int64]]:
        """The counted positions of each chunk."""
        for chunk in self.chunks:
            positions = self._all(chunk)
            bits = self._part(chunk, np.uint8, self._starts(chunk)[4], -(-len(positions) // 8))
            yield positions[np.unpackbits(bits, count=len(positions)).astype(bool)]

    def _all(self, chunk: Chunk) -> NDArray[np.int64]:
        return (chunk.rows[:, None] * self.n_ctx + np.arange(self.n_ctx)).reshape(-1)

    def _starts(self, chunk: Chunk) -> list[int]:
        """Where in its file each part of a chunk begins, and where the last ends."""
        counts = self.counts(chunk)
        n, n_bits = counts["n_entries"], -(-len(chunk.rows) * self.n_ctx // 8)
        head = 8 * len(_HEAD) + 8 * (self.d_sae + 1)
        sizes = [head, n * self.dtype.itemsize, 4 * n, 4 * counts["n_read"], n_bits]
        return [0, *np.cumsum(sizes).tolist()]

    def _part(self, chunk: Chunk, dtype: np.typing.DTypeLike, offset: int, n: int) -> NDArray:
        return np.fromfile(self._path(chunk), dtype, n, offset=offset)

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / f"{chunk.number:06d}"


def position_dtype(corpus: TokenRows) -> np.dtype:
    """In what positions of a corpus are kept."""
    return np.dtype(np.uint32 if corpus.n_rows * corpus.n_ctx <= 2**32 else np.int64)


def by_latent(
    read: Read, d_sae: int, dtype: np.dtype
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray, NDArray[np.float32]]:
    """The counted positions of a chunk; and its codes ordered by latent: offsets, positions, values. Raises
    `UserError` for codes that are not finite."""
    positions = np.concatenate([*read.positions, np.empty(0, dtype=np.int64)])
    codes = _by_token(read, len(positions), d_sae)
    if not np.isfinite(codes.data.sum(dtype=np.float64)):
        _refuse(codes, positions)
    if not codes.data.all():
        codes.eliminate_zeros()
    columns = codes.tocsc()
    return positions, columns.indptr.astype(np.int64), positions.astype(dtype)[columns.indices], columns.data


def _by_token(read: Read, n_tokens: int, d_sae: int) -> scipy.sparse.csr_array:
    """The codes of all batches as one matrix of tokens by latents."""
    sizes = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(batch[0]) for batch in read.codes)])
    latents = np.concatenate([np.empty(0, dtype=np.int32), *(batch[1].astype(np.int32) for batch in read.codes)])
    values = np.concatenate([np.empty(0, dtype=np.float32), *(batch[2] for batch in read.codes)])
    return scipy.sparse.csr_array((values, latents, sizes.cumsum()), shape=(n_tokens, d_sae))


def _refuse(codes: scipy.sparse.csr_array, positions: NDArray[np.int64]) -> None:
    bad = np.flatnonzero(~np.isfinite(codes.data))
    if len(bad):
        token = int(np.searchsorted(codes.indptr, bad[0], "right")) - 1
        raise UserError(
            f"Latent {codes.indices[bad[0]]} is {codes.data[bad[0]]} at position {positions[token]} of the corpus.",
            "finite latents",
            "check the dictionary: its weights are too large for what it reads, or belong to another place.",
        )
