"""The one maker of figures: a statistic of measured values, with its interval, or the reason why there is none.

Apart from the records in `base.figures`, which are read where nothing is computed and NumPy is not needed.
"""

from typing import NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import (
    LEAST_UNITS,
    Floats,
    Interval,
    Jackknife,
    Statistic,
    effective_units,
    jackknife,
    median_interval,
    share_interval,
)

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

    better: Better
    """Which values are better; left out where that is no question."""

    empty: str
    """The failure where there was nothing to observe."""

    undefined: str
    """The failure where the value means nothing; left out where it means something."""


class Estimate(NamedTuple):
    """A figure, and what it owes to each unit, so that it can be compared with another over the same units."""

    figure: Figure
    jackknife: Jackknife


def estimate(
    name: str,
    sums: Floats,
    statistic: Statistic,
    words: str,
    *,
    over: str,
    sizes: Floats | None = None,
    least: float = LEAST_UNITS,
    share: bool = False,
    also: tuple[str, Floats] | None = None,
    **about: Unpack[About],
) -> Estimate:
    """The figure that is a statistic of sums over units, with its 95 % interval over these units.

    Args:
        name: path of the figure.
        sums: `[n_units, m]` sums that each unit contributes (float64).
        statistic: maps summed columns `[..., m]` to values `[...]`.
        words: what was computed, over what; the interval's words are added.
        over: the units, such as `documents`.
        sizes: `[n_units]`, how much of the whole each unit is; left out, all are alike.
        least: effective units below which there is no interval.
        share: whether it lies between 0 and 1, and so does its interval; at either end it has none.
        also: other units over which it is uncertain besides, independently, and what each of these contributes.
        about: see `About`.

    A value that is not finite is a failure with its reason, and ends that are not finite are left out.
    """
    found = jackknife(sums, statistic, sizes)
    reason = DIVIDED_BY_ZERO if np.isfinite(sums.sum(0)).all() else NOT_FINITE
    n, effective = len(sums), effective_units(np.ones(len(sums)) if sizes is None else sizes)
    words = f"{words}; 95 % jackknife interval over {over}"
    if also is not None:
        found = found._replace(influences=np.concatenate([found.influences, jackknife(also[1], statistic).influences]))
        words += f" and over {also[0]}"
    spread = (n, effective, found.se, over)
    return Estimate(_figure(name, found.interval(least, share=share), words, spread, reason, about), found)


def figure_of(
    name: str, sums: Floats, statistic: Statistic, words: str, *, over: str, **about: Unpack[About]
) -> Figure:
    """The figure of `estimate` over units that are alike."""
    return estimate(name, sums, statistic, words, over=over, **about).figure


def mean_figure(
    name: str, values: ArrayLike, words: str, *, over: str, apart: ArrayLike | None = None, **about: Unpack[About]
) -> Figure:
    """The mean of `[n_units]` values, of flags the share of units, where `apart` is as for `median_figure`; otherwise
    like `figure_of`."""
    each = np.asarray(values)
    n = len(each)
    if each.dtype == bool:
        found = share_interval(int(each.sum()), n)
        se = float(np.sqrt(found.value * (1 - found.value) / max(1, n)))
        without = None if apart is None or not n else np.asarray(apart).mean(axis=1)
        found, se, more = _of_groups(found, se, without)
        words = f"{words}; 95 % score interval over {over}{more}"
        return _figure(name, found, words, (n, n, se, over), NOT_FINITE, about)
    sums = np.stack([each.astype(np.float64), np.ones(n)], axis=1)
    return figure_of(name, sums, lambda s: s[..., 0] / s[..., 1], words, over=over, **about)


def median_figure(
    name: str, values: ArrayLike, words: str, *, over: str, apart: Floats | None = None, **about: Unpack[About]
) -> Figure:
    """The median of `[n_units]` values with its interval from order statistics; otherwise like `figure_of`.

    Where every value was itself measured on the same documents, other documents would have moved all of them together:
    `apart`, `[n_groups, n_units]`, has the values without each of several equal groups of documents, and the interval
    is over both.
    """
    each = np.asarray(values, dtype=np.float64)
    found, n = median_interval(each), len(each)
    se = (found.high - found.low) / (2 * 1.959964)
    without = None if apart is None or n < 2 else np.nanmedian(apart, axis=1)
    found, se, more = _of_groups(found, se, without)
    words = f"{words}; 95 % interval from order statistics over {over}{more}"
    return _figure(name, found, words, (n, n, se, over), NOT_FINITE, about)


def _of_groups(found: Interval, se: float, without: Floats | None) -> tuple[Interval, float, str]:
    """An interval over units, its standard error and what is to be said of it, with what groups of documents add: the
    value `without` each of them."""
    if without is None or len(without) < 2:
        return found, se, ""
    n = len(without)
    of_documents = float(np.square(without - found.value).sum() * (n - 1) / n)
    more = f", and the jackknife over {n} groups of documents"
    return _wider(found, of_documents), float(np.sqrt(se**2 + of_documents)), more


def _wider(found: Interval, variance: float) -> Interval:
    """Either end as far out as two independent causes move it together."""
    more = (1.959964**2) * variance
    low, high = (np.sqrt((end - found.value) ** 2 + more) for end in (found.low, found.high))
    return Interval(found.value, float(found.value - low), float(found.value + high))


def _figure(
    name: str, found: Interval, definition: str, spread: tuple[int, float, float, str], reason: str, about: About
) -> Figure:
    n_units, n_effective, se, over = spread
    n, unit = about.get("n", n_units), about.get("unit", "")
    failure = about.get("undefined", "")
    if not n or not np.isfinite(found.value) or failure:
        failure = failure or (reason if n else about.get("empty", "nothing was counted"))
        return Figure(name=name, unit=unit, n=n, definition=definition, failure=failure)
    low, high, null, error = map(_known, (found.low, found.high, about.get("null"), se))
    return Figure(
        name=name,
        value=found.value,
        unit=unit,
        better=about.get("better", ""),
        ci_low=low,
        ci_high=high,
        se=error,
        n=n,
        units=over,
        n_units=n_units,
        n_effective=n_effective,
        null=null,
        definition=definition,
    )


def _known(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
