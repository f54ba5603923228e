"""Sparse codes of a whole corpus, ordered by latent: written in chunks while reading, joined at the end.

A column holds the positions at which a latent is active, ascending, with its values. Nothing dense is ever made: a
chunk is sorted by latent when it is full, and joining places every chunk's run of a latent behind the runs of earlier
chunks.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 23
"""Entries in a chunk: about 100 MB while it is sorted."""


class ColumnWriter:
    """Collects (latent, position, value) triples whose positions ascend, and writes columns."""

    def __init__(self, folder: Path, d_sae: int, n_positions: int):
        self.folder, self.d_sae = folder, d_sae
        self.dtype = np.uint32 if n_positions <= 2**32 else np.int64
        self._waiting: list[tuple[NDArray, NDArray, NDArray]] = []
        self._n_waiting = 0
        self._counts: list[NDArray[np.int64]] = []

    def add(self, latents: NDArray, positions: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add entries of the next tokens."""
        latents = latents.astype(np.uint16 if self.d_sae <= 2**16 else np.uint32)
        self._waiting.append((latents, positions.astype(self.dtype), values))
        self._n_waiting += len(latents)
        if self._n_waiting >= CHUNK:
            self._spill()

    def finish(self) -> None:
        """Write `indptr.npy`, `positions.npy` and `values.npy`, and remove the chunks."""
        self._spill()
        counts = np.array(self._counts).reshape(-1, self.d_sae)
        indptr = np.concatenate([[0], counts.sum(0).cumsum()]).astype(np.int64)
        np.save(self.folder / "indptr.npy", indptr)
        for name, dtype in (("positions", self.dtype), ("values", np.float32)):
            shape = (int(indptr[-1]),)
            if not shape[0]:
                np.save(self.folder / f"{name}.npy", np.empty(0, dtype=dtype))
                continue
            out = np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
            starts = indptr[:-1].copy()
            for number, count in enumerate(counts):
                path = self._path(number, name)
                chunk = np.load(path, mmap_mode="r")
                # Entry i of a latent's run goes to `starts[latent] + i`: one shift per latent, repeated over its run.
                shift = starts - (count.cumsum() - count)
                out[np.arange(len(chunk)) + np.repeat(shift, count)] = chunk
                starts += count
                path.unlink()
            out.flush()

    def _spill(self) -> None:
        if not self._n_waiting:
            return
        latents, positions, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        order = np.argsort(latents, kind="stable")
        number = len(self._counts)
        np.save(self._path(number, "positions"), positions[order])
        np.save(self._path(number, "values"), values[order])
        self._counts.append(np.bincount(latents, minlength=self.d_sae))
        self._waiting, self._n_waiting = [], 0

    def _path(self, number: int, name: str) -> Path:
        return self.folder / f"chunk-{number:05d}-{name}.npy"


def groups(indptr: NDArray[np.int64], n_entries: int = 1 << 22) -> list[slice]:
    """Ranges of latents with about `n_entries` entries each (at least one latent), covering all."""
    ends = np.unique(np.searchsorted(indptr, np.arange(n_entries, int(indptr[-1]) + n_entries, n_entries)))
    ends = np.unique(np.clip(np.append(ends, len(indptr) - 1), 1, len(indptr) - 1))
    return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
