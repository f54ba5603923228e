"""Coordinates by what a probe owes to them, and what it says when they are taken out."""

from collections.abc import Sequence

import numpy as np

from sparselex.evaluate.probes.asked import Fold, Ints
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.config import AblateTo
from sparselex.evaluate.probes.logistic import Bools, Floats, LinearProbe

_ALIKE = 20
"""Coordinates that are active about as often, of which a null draws one."""


def attributed(columns: Columns, probe: LinearProbe, fit: Ints, has: Bools) -> Ints:
    """All coordinates, those that hold up what a probe says of a concept most first: the difference of their means with
    it and without it, times what one unit of each adds to the probe's score (the effect of ablation, which is exact for
    a linear probe; Marks et al. 2024, arXiv:2403.19647)."""
    values = columns.values[fit]
    apart = values.T @ has / max(1, has.sum()) - values.T @ ~has / max(1, (~has).sum())
    return np.argsort(-apart * (columns.directions @ probe.weight), kind="stable")


def without(columns: Columns, probe: LinearProbe, scores: Floats, fold: Fold, taken: Ints, to: AblateTo) -> Floats:
    """What the probe says of the texts to test, `scores` `[n]` with all in place, when the coordinates `taken` are
    ablated at every token: means over tokens change by what these add to the mean. Either all of it is taken away, or
    it is put to its mean over the texts to fit, which moves no probe as a whole to one side."""
    added = columns.directions[taken] @ probe.weight
    found: Floats = scores - columns.values[fold.test][:, taken] @ added
    if to == "mean":
        found = found + float(columns.values[fold.fit][:, taken].mean(0) @ added)
    return found


def others_alike(rates: Floats, taken: Ints, chance: np.random.Generator) -> Ints:
    """As many coordinates that are none of these, each active about as often as one of them: drawn of the twenty that
    are nearest."""
    free = np.setdiff1d(np.flatnonzero(rates > 0), taken)
    found = list[int]()
    for one in taken[rates[taken] > 0]:
        if not len(free):
            break
        jitter = chance.random(len(free))  # of many that are active equally often any are the nearest
        near = free[np.lexsort((jitter, np.abs(rates[free] - rates[one])))[:_ALIKE]]
        drawn = int(near[chance.integers(len(near))])
        found.append(drawn)
        free = free[free != drawn]
    return np.array(found, dtype=np.int64)


def spread_of(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None of one seed, or where a value is missing."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else None
