"""Looking several times, and stopping early: windows are judged in parts, and no more once enough is known.

Whoever looks often and stops when it suits sees intervals that are too narrow. Here the number of looks is fixed
beforehand and the error is shared among them (Bonferroni), so that the interval at which judging ended still holds its
value in 95 of 100 cases, whenever that was.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import LEVEL, Interval, effective_units, jackknife, share_interval
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import KINDS, Counts, Item, Judged


class Looks(NamedTuple):
    """The windows of a latent in the parts in which they are judged."""

    parts: list[NDArray[np.int64]]
    """Places of the windows of each part, as equal a share of every kind as there can be."""

    level: float
    """Chance that an interval at one look holds the value, so that all of them do in 95 of 100 cases."""

    @classmethod
    def of(cls, items: Sequence[Item], n: int) -> "Looks":
        """Windows in `n` parts, in their order within each."""
        if n == 1:
            return cls([np.arange(len(items))], LEVEL)
        part = np.zeros(len(items), dtype=np.int64)
        for kind in KINDS:
            own = np.array([place for place, item in enumerate(items) if item.kind == kind], dtype=np.int64)
            part[own] = np.arange(len(own)) * n // max(1, len(own))
        parts = [np.flatnonzero(part == one) for one in range(n)]
        return cls([one for one in parts if len(one)], 1 - (1 - LEVEL) / n)


def is_decided(found: Judged, documents: NDArray[np.int64], config: AskConfig, level: float) -> bool:
    """Whether balanced accuracy is known well enough: to `config.close`, or, where that is wanted, to be better than a
    guess."""
    if config.looks == 1:
        return False
    low, high = _interval(found, documents, level)[1:]
    return high - low <= 2 * config.close or (config.until_better and low > 0.5)


def _interval(found: Judged, documents: NDArray[np.int64], level: float) -> Interval:
    """Balanced accuracy with its interval; where all windows of a kind are judged alike, from that of shares."""
    counts = Counts(found, documents, 0.5)
    told = jackknife(counts.per_document, lambda sums: counts.measures(sums)["balanced_accuracy"], counts.sizes)
    interval = told.interval(share=True, level=level)
    if np.isfinite(interval.low) or not np.isfinite(interval.value):
        return interval if np.isfinite(interval.low) else Interval(interval.value, 0.0, 1.0)
    n = effective_units(counts.sizes)
    ends = [
        share_interval(round(share * n), round(n), level=level)
        for name in ("recall", "specificity")
        if np.isfinite(share := float(counts.measures(counts.per_document.sum(0))[name]))
    ]
    return Interval(interval.value, *(float(np.mean([one[place] for one in ends])) for place in (1, 2)))
