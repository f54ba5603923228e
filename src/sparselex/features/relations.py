"""What an index keeps of how latents hang together: with each other, with neurons, with what follows them, and with the
latents of other indexes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.dictionaries.coder import Coder
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.directions import neighbours
from sparselex.features.following import base_shares, following
from sparselex.features.ranges import groups
from sparselex.features.sample import Sampled
from sparselex.features.sketches import WIDTH, as_bytes, cells, sketched, sketched_ones
from sparselex.features.together import active_in, coactive, neurons
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS

_N_NEURONS, _N_FOLLOWING = 5, 10


def write_relations(
    folder: Path, coder: Coder, corpus: TokenRows, sampled: Sampled | None, device: torch.device, n_neighbours: int
) -> dict[str, Any]:
    """Write what follows from the coder itself and, where there is a sample of training tokens, from that and from the
    finished columns in `folder`; returns what the index notes of it."""
    arrays: dict[str, NDArray] = {}
    if isinstance(coder, Dictionary):
        arrays["directions"] = as_bytes(coder.directions().float().cpu().numpy())
        arrays |= _encoder_neighbours(coder, device, n_neighbours)
    if sampled is not None:
        arrays |= _in_text(folder, coder, corpus, sampled, n_neighbours)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {
        "signed": isinstance(coder, Dictionary) and coder.signed,
        "n_sampled": sampled.n_together if sampled else 0,
        "n_read": len(sampled.x) if sampled else 0,
    }


def _in_text(folder: Path, coder: Coder, corpus: TokenRows, sampled: Sampled, n_neighbours: int) -> dict[str, NDArray]:
    """What is together in the text, and what follows in it."""
    _write_sketches(folder, corpus)
    together = coactive(sampled, coder.d_sae, n_neighbours)
    read = neurons(sampled, coder.d_sae, _N_NEURONS)
    return {
        "coactive": together.place,
        "coactive-both": together.value,
        "sampled-active": active_in(sampled, coder.d_sae),
        "neurons": read.best.place,
        "neuron-correlations": read.best.value,
        "neuron-chance": read.chance,
        **_following(folder, corpus),
    }


def _encoder_neighbours(dictionary: Dictionary, device: torch.device, n: int) -> dict[str, NDArray]:
    """Nothing for a dictionary without an encoder."""
    rows = dictionary.encoder_rows()
    if rows is None:
        return {}
    near = neighbours(rows.to(device), n)
    return {
        "encoder-neighbours": near.places.int().cpu().numpy(),
        "encoder-neighbour-cosines": near.value.float().cpu().numpy(),
    }


def _following(folder: Path, corpus: TokenRows) -> dict[str, NDArray]:
    n_train = np.load(folder / "statistics-n_active.npy")[SPLITS.index("train")].astype(np.int64)
    positions = np.load(folder / "positions.npy", mmap_mode="r")
    base = base_shares(_counted(folder, corpus), corpus)
    indptr = np.load(folder / "indptr.npy")
    found = following(indptr, positions, n_train, base, corpus.tokens, corpus.documents, _N_FOLLOWING)
    return {
        "following": found.tokens,
        "following-times": found.times,
        "following-places": found.n_places,
        "token-shares": base,
    }


def _counted(folder: Path, corpus: TokenRows) -> NDArray[np.bool_]:
    return np.unpackbits(np.load(folder / "counted.npy"), count=corpus.n_rows * corpus.n_ctx).astype(bool)


def _write_sketches(folder: Path, corpus: TokenRows) -> None:
    indptr, counted = np.load(folder / "indptr.npy"), _counted(folder, corpus)
    positions, values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("positions", "values"))
    cell = cells(len(counted))
    ones, n_tokens = sketched_ones(counted, cell), max(1, int(counted.sum()))
    found = np.lib.format.open_memmap(folder / "sketches.npy", "w+", np.int8, (len(indptr) - 1, WIDTH))
    for group in groups(indptr):
        counts, span = np.diff(indptr[group.start : group.stop + 1]), slice(indptr[group.start], indptr[group.stop])
        rows, totals = sketched(counts, np.asarray(positions[span]), np.asarray(values[span]), cell)
        found[group] = as_bytes(rows - np.outer(totals / n_tokens, ones))
    found.flush()
