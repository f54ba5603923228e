"""The one maker of figures: a statistic of measured values, with its interval, or the reason why there is none.

Apart from the records in `base.figures`, which are read where nothing is computed and NumPy is not needed.
"""

from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparselex.base.figures import Figure
from sparselex.base.intervals import Interval, Resampled, Statistic, interval_of, median_interval, resample

DIVIDED_BY_ZERO = "not a finite number: the quantity it is divided by is zero"
NOT_FINITE = "a value behind it is not a finite number"


class About(TypedDict, total=False):
    """What may be said of a figure besides."""

    n: int
    """Observations behind the value; left out, the units themselves."""

    unit: str
    """Unit of the value; left out for a pure number."""

    null: float | None
    """The value under the null; not shown where it is not finite."""

    empty: str
    """The failure where there was nothing to observe."""


def figure_of(
    name: str,
    sums: NDArray[np.float64] | Resampled,
    statistic: Statistic,
    words: str,
    *,
    over: str,
    **about: Unpack[About],
) -> Figure:
    """The figure that is a statistic of sums over units, with its 95 % bootstrap interval over these units.

    Args:
        name: path of the figure.
        sums: `[n_units, m]` sums that each unit contributes (float64); or the same drawn again already (`resample`),
            where several figures are made of them.
        statistic: maps summed columns `[..., m]` to values `[...]`.
        words: what was computed, over what; the interval's words are added.
        over: the units, such as `documents`.
        about: see `About`.

    A value that is not finite is a failure with its reason, and ends that are not finite are left out.
    """
    drawn = sums if isinstance(sums, Resampled) else resample(sums)
    reason = DIVIDED_BY_ZERO if np.isfinite(drawn.total).all() else NOT_FINITE
    definition = f"{words}; 95 % bootstrap interval over {over}"
    return _figure(name, interval_of(drawn, statistic), definition, drawn.n_units, reason, about)


def mean_figure(name: str, values: ArrayLike, words: str, *, over: str, **about: Unpack[About]) -> Figure:
    """The mean of `[n_units]` values, of flags the share of units; otherwise like `figure_of`."""
    each = np.asarray(values, dtype=np.float64)
    sums = np.stack([each, np.ones(len(each))], axis=1)
    return figure_of(name, sums, lambda s: s[..., 0] / s[..., 1], words, over=over, **about)


def median_figure(name: str, values: ArrayLike, words: str, *, over: str, **about: Unpack[About]) -> Figure:
    """The median of `[n_units]` values with its interval from order statistics; otherwise like `figure_of`."""
    each = np.asarray(values, dtype=np.float64)
    definition = f"{words}; 95 % interval from order statistics over {over}"
    return _figure(name, median_interval(each), definition, len(each), NOT_FINITE, about)


def _figure(name: str, found: Interval, definition: str, n_units: int, reason: str, about: About) -> Figure:
    n, unit = about.get("n", n_units), about.get("unit", "")
    if not n or not np.isfinite(found.value):
        failure = reason if n else about.get("empty", "nothing was counted")
        return Figure(name=name, unit=unit, n=n, definition=definition, failure=failure)
    low, high, null = map(_known, (found.low, found.high, about.get("null")))
    return Figure(
        name=name, value=found.value, unit=unit, ci_low=low, ci_high=high, n=n, null=null, definition=definition
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
