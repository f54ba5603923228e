"""What an index keeps of how latents hang together: with each other, and with the latents of other indexes."""

from pathlib import Path
from typing import Any

import numpy as np

from sparselex.dictionaries.coder import Coder
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.examples import Entries
from sparselex.features.latents import groups
from sparselex.features.sketches import WIDTH, as_bytes, cells, sketched, sketched_ones
from sparselex.text.rows import TokenRows


def write_relations(folder: Path, coder: Coder, corpus: TokenRows) -> dict[str, Any]:
    """Write what follows from the finished columns in `folder` and from the coder itself; returns what the index notes
    of it."""
    if isinstance(coder, Dictionary):
        np.save(folder / "directions.npy", as_bytes(coder.directions().float().cpu().numpy()))
    _write_sketches(folder, corpus)
    return {"signed": isinstance(coder, Dictionary) and coder.signed}


def _write_sketches(folder: Path, corpus: TokenRows) -> None:
    indptr = np.load(folder / "indptr.npy")
    positions, values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("positions", "values"))
    n_positions = corpus.n_rows * corpus.n_ctx
    counted = np.unpackbits(np.load(folder / "counted.npy"), count=n_positions).astype(bool)
    cell = cells(n_positions)
    ones, n_tokens = sketched_ones(counted, cell), max(1, int(counted.sum()))
    found = np.lib.format.open_memmap(folder / "sketches.npy", "w+", np.int8, (len(indptr) - 1, WIDTH))
    for group in groups(indptr):
        rows, totals = sketched(Entries.of_group(indptr, positions, values, group), cell, group.stop - group.start)
        found[group] = as_bytes(rows - np.outer(totals / n_tokens, ones))
    found.flush()
