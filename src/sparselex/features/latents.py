"""Sparse codes of a whole corpus, ordered by latent: read from chunks a range of latents at a time, written in order.

A column holds the positions at which a latent is active, ascending, with its values. Nothing dense is ever made: a
range of latents takes from every chunk the run that it has there, and places it behind the runs of earlier chunks.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from sparselex.features.chunks import ChunkFiles
from sparselex.features.examples import Entries
from sparselex.text.splits import SPLITS


class Columns:
    """All chunks of an index as columns."""

    def __init__(self, files: ChunkFiles):
        self.files = files
        self._offsets = np.stack([files.offsets(chunk) for chunk in files.chunks])
        self.indptr = self._offsets.sum(0)
        """`[d_sae + 1]`, where each latent's column begins among all entries."""
        self._split_starts = np.searchsorted([SPLITS.index(chunk.split) for chunk in files.chunks], range(len(SPLITS)))

    def group(self, latents: slice) -> tuple[Entries, NDArray[np.int64]]:
        """The columns of a range of latents, and `[n_splits, n_latents]` how many of their entries lie in each
        split."""
        offsets = self._offsets[:, latents.start : latents.stop + 1]
        counts = np.diff(offsets)
        n = int(counts.sum())
        position, value = np.empty(n, dtype=self.files.dtype), np.empty(n, dtype=np.float32)
        # Entry i of a latent's run goes to `starts[latent] + i`: one shift per latent, repeated over its run.
        starts = np.concatenate([[0], counts.sum(0).cumsum()[:-1]])
        for chunk, places, count in zip(self.files.chunks, offsets, counts, strict=True):
            positions, values = self.files.entries(chunk, int(places[0]), int(places[-1]))
            to = np.arange(len(values)) + np.repeat(starts - (places[:-1] - places[0]), count)
            position[to], value[to] = positions, values
            starts += count
        latent = np.repeat(np.arange(counts.shape[1]), counts.sum(0))
        by_split = [part.sum(0) for part in np.split(counts, self._split_starts[1:])]
        return Entries(latent, position, value), np.stack(by_split)


class ColumnWriter:
    """Writes `indptr.npy` at once, and `positions.npy` and `values.npy` as columns come, in order."""

    def __init__(self, folder: Path, indptr: NDArray[np.int64], dtype: np.dtype):
        np.save(folder / "indptr.npy", indptr)
        self._stack, n = ExitStack(), int(indptr[-1])
        self._files = [self._begun(folder / name, kind, n) for name, kind in (("positions", dtype), ("values", "<f4"))]

    def write(self, entries: Entries) -> None:
        """The columns of the next latents."""
        for file, array in zip(self._files, (entries.position, entries.value), strict=True):
            file.write(np.ascontiguousarray(array).data)

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _begun(self, path: Path, dtype: np.typing.DTypeLike, n: int) -> BinaryIO:
        # Written and not mapped: of a full disk a map tells with a signal that ends the process.
        file = self._stack.enter_context(open(path.with_suffix(".npy"), "wb"))
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (n,)})
        return file


def joined(parts: Sequence[dict[str, NDArray]]) -> dict[str, NDArray]:
    """Arrays of ranges of latents, one range after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
