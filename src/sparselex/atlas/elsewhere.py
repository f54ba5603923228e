"""The same feature in another dictionary: the nearest latents of another index, by direction or by activation.

Where both write the same site of one model, latents are compared by the cosine of their directions. Any others, of
other layers, other models or other widths, by the correlation of their activations, where both read the same text.
Nothing here imports PyTorch: a page asks while a reader waits.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparselex.base.config import Config
from sparselex.features.index import FeatureIndex
from sparselex.features.sketches import cosines

Sense = Literal["direction", "activation"]
"""By what latents of two indexes are compared."""

_MOST_ENTRIES = 1 << 22
"""Entries of columns that are read for one answer: of dense latents fewer are looked at."""

_FEWEST = 8
"""Latents that are looked at however dense they are."""

N_LOOKED_AT = 32
"""Latents whose columns are read: those whose sketches are most alike. Of 4,096 that have nothing to do with a latent,
the sketches of so many seem to correlate with it at 0.15 or more; one that does at 0.35 is among them."""


class Elsewhere(Config):
    """A latent of another index that is near to one of this."""

    latent: int
    """Its number in the other index."""

    by: Sense
    """What the list is ordered by."""

    cosine: float | None
    """Cosine of the two directions; None where the two do not write the same site of one model."""

    correlation: float | None
    """Pearson correlation of the two activations over the positions that both indexes counted, from the whole columns;
    None where the two read other texts, or where either is the same on all these positions."""

    n_both: int
    """Positions on which both are active."""

    n_tokens: int
    """Positions that both counted; 0 where the two read other texts."""


def compared_by(index: FeatureIndex, other: FeatureIndex) -> Sense | None:
    """By what the latents of two indexes can be compared; None where by nothing: other sites or models, and other texts
    too."""
    if _same_site(index, other):
        return "direction"
    return "activation" if _same_text(index, other) else None


def elsewhere(index: FeatureIndex, latent: int, other: FeatureIndex, n: int = 5) -> list[Elsewhere]:
    """The `n` latents of `other` nearest to `latent`, the nearest first; of equals the one with the lower number.

    By size where either dictionary is signed, since a latent then serves a direction and its opposite. Latents without
    a direction or, by activation, that are never active at the same place, are none. Raises `UserError` for a number
    that is no latent.
    """
    index.check(latent)
    by = compared_by(index, other)
    if by is None:
        return []
    candidates, alike = _candidates(index, latent, other, by, n if by == "direction" else max(n, N_LOOKED_AT))
    found = _Measured(index, latent, other, candidates) if _same_text(index, other) else None
    rows = [
        Elsewhere(
            latent=int(candidate),
            by=by,
            cosine=float(alike[place]) if by == "direction" else None,
            correlation=found.correlation(place) if found else None,
            n_both=int(found.n_both[place]) if found else 0,
            n_tokens=found.n_tokens if found else 0,
        )
        for place, candidate in enumerate(candidates)
    ]
    if by == "activation":
        size = abs if _signed(index, other) else float
        rows = [row for row in rows if row.correlation is not None and row.n_both]
        rows.sort(key=lambda row: (-size(row.correlation or 0.0), row.latent))
    return rows[:n]


def _candidates(
    index: FeatureIndex, latent: int, other: FeatureIndex, by: Sense, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Latents of the other index most alike by directions or sketches, the nearest first, and their cosines."""
    own, theirs = (index.directions, other.directions) if by == "direction" else (index.sketches, other.sketches)
    if own is None or theirs is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    alike = cosines(theirs, own[latent])
    score = np.abs(alike) if _signed(index, other) else alike
    # Only those above the n-th largest are sorted: a hundred thousand would take longer than all the rest.
    bar = np.partition(score, -n)[-n] if n < len(score) else -np.inf
    kept = np.flatnonzero((score >= bar) & (alike != 0))
    best = kept[np.lexsort((kept, -score[kept]))][:n]
    n_entries = np.cumsum(other.indptr[best + 1] - other.indptr[best])
    best = best[: max(_FEWEST, int(np.searchsorted(n_entries, _MOST_ENTRIES, "right")))]
    return best, alike[best]


class _Measured:
    """Correlations of one latent's column with some of another index, exact, over the positions that both counted."""

    def __init__(self, index: FeatureIndex, latent: int, other: FeatureIndex, candidates: NDArray[np.int64]):
        both = index.counted if index.counted_hash == other.counted_hash else index.counted & other.counted
        self.n_tokens = int(np.count_nonzero(both))
        positions, values = index.column(latent)
        dense = np.zeros(len(both), dtype=np.float32)
        dense[positions] = values
        dense[positions[~both[positions]]] = 0
        own = values[both[positions]].astype(np.float64)
        self._own = float(own.sum()), float(own @ own)
        self.n_both = np.zeros(len(candidates), dtype=np.int64)
        self._theirs, self._products = np.zeros((2, len(candidates))), np.zeros(len(candidates))
        for place, candidate in enumerate(candidates):
            at, acts = other.column(int(candidate))
            if both is not index.counted:
                inside = both[at]
                at, acts = at[inside], acts[inside]
            here, wide = dense[at], acts.astype(np.float64)
            self.n_both[place] = np.count_nonzero(here)
            self._products[place] = here @ wide
            self._theirs[:, place] = wide.sum(), wide @ wide

    def correlation(self, place: int) -> float | None:
        """Of the candidate at this place; None where either latent is the same on all positions."""
        n, (total, square) = max(1, self.n_tokens), self._own
        theirs, their_square = self._theirs[:, place]
        spread = (square - total * total / n) * (their_square - theirs * theirs / n)
        if spread <= 0:
            return None
        return float(np.clip((self._products[place] - total * theirs / n) / np.sqrt(spread), -1, 1))


def _same_site(index: FeatureIndex, other: FeatureIndex) -> bool:
    if index.directions is None or other.directions is None:
        return False
    model = index.manifest.inputs.get("model")
    same = model is not None and model == other.manifest.inputs.get("model")
    return same and index.sites.written == other.sites.written


def _same_text(index: FeatureIndex, other: FeatureIndex) -> bool:
    """Whether the activations of both can be compared token by token."""
    return index.corpus.id == other.corpus.id and not (index.sampled or other.sampled)


def _signed(index: FeatureIndex, other: FeatureIndex) -> bool:
    return index.signed or other.signed
