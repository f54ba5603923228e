"""What counts as much and as little: quantiles of values of directions that were drawn, and how uncertain these are
themselves, over documents and over draws. Arrays in, numbers out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PARTS = 30
"""Parts of the draws that are left out in turn."""


class Threshold(NamedTuple):
    """A quantile of values of directions that were drawn."""

    whole: float
    """That of all."""

    without: Floats
    """`[n_groups]`, that without each group of documents."""

    redrawn: Floats
    """`[n_parts]`, that without each part of the draws."""

    @classmethod
    def of(cls, values: Floats, without: Floats, share: float) -> "Threshold":
        """The quantile that a share of `values` `[m]` lies below; `without` `[n_groups, m]` has these without each
        group of documents. Draws are in no order."""
        parts = np.arange(len(values)) % min(_PARTS, len(values))
        redrawn = [np.quantile(values[parts != part], share) for part in np.unique(parts)]
        return cls(float(np.quantile(values, share)), np.quantile(without, share, axis=1), np.array(redrawn))

    def by_draws(self, figure: Callable[[float], float]) -> Floats:
        """`[n_parts]`, what a figure of this threshold owes to each part of the draws, scaled so that the squares sum
        to its variance (the jackknife)."""
        return _influences(figure(self.whole), np.array([figure(one) for one in self.redrawn]))

    @property
    def variance(self) -> float:
        """Of the threshold itself, over documents and draws."""
        both = _influences(self.whole, self.without), _influences(self.whole, self.redrawn)
        return float(sum(np.square(one).sum() for one in both))


def _influences(value: float, without: Floats) -> Floats:
    found: Floats = (value - without) * np.sqrt((len(without) - 1) / len(without))
    return found
