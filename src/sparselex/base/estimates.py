"""The one maker of figures: a statistic of measured values, with its interval, or the reason why there is none.

Apart from the records in `base.figures`, which are read where nothing is computed and NumPy is not needed.
"""

import warnings
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import (
    FEWEST_OF_MEDIAN,
    LEAST_DOCUMENTS,
    LEAST_UNITS,
    Floats,
    Interval,
    Jackknife,
    Statistic,
    effective_units,
    jackknife,
    median_interval,
    share_interval,
    widened,
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


Spread = tuple[int, float, float, str]
"""Units, how many of one size would tell as much, standard error, and what they are."""


class Apart(NamedTuple):
    """Values that were all measured on the same documents, as they are without some of these."""

    without: NDArray[Any]
    """`[n_groups, n_units]`, the values without each of several equal groups of documents; NaN for what cannot be
    formed."""

    n_documents: float
    """Documents of one size that would tell as much as all of these."""

    more: float = 0.0
    """Variance of the figure by what is drawn besides, independently of units and documents: such as directions."""


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
    correlation: bool = False,
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
        correlation: the same for one that lies between -1 and 1.
        also: other units over which it is uncertain besides, independently, and what each of these contributes.
        about: see `About`.

    A value that is not finite is a failure with its reason, and ends that are not finite are left out.
    """
    found = jackknife(sums, statistic, sizes)
    reason = DIVIDED_BY_ZERO if np.isfinite(sums.sum(0)).all() else NOT_FINITE
    n, effective = len(sums), effective_units(np.ones(len(sums)) if sizes is None else sizes)
    if also is not None:
        found = found._replace(influences=np.concatenate([found.influences, jackknife(also[1], statistic).influences]))
    interval, more = found.interval(least, share=share, correlation=correlation), f" and over {also[0]}" if also else ""
    if np.isfinite(interval.low):
        words += f"; 95 % jackknife interval over {over}{more}"
    elif effective < least and sizes is None:
        words += f"; no interval: {n} {over}, {least:g} needed"
    elif effective < least:
        words += f"; no interval, with {over} that count as {effective:.3g} of one size and {least:g} needed"
    else:
        words += f"; no interval, as leaving out any of the {over} changes nothing"
    spread = (n, effective, found.se or np.nan, over)
    return Estimate(_figure(name, interval, words, spread, reason, about), found)


def figure_of(
    name: str, sums: Floats, statistic: Statistic, words: str, *, over: str, share: bool = False, **about: Unpack[About]
) -> Figure:
    """The figure of `estimate` over units that are alike."""
    return estimate(name, sums, statistic, words, over=over, share=share, **about).figure


def mean_figure(
    name: str,
    values: ArrayLike,
    words: str,
    *,
    over: str,
    apart: Apart | None = None,
    share: bool = False,
    **about: Unpack[About],
) -> Figure:
    """The mean of `[n_units]` values, of flags the share of units, where `apart` is as for `median_figure`, and `share`
    says that it lies between 0 and 1; otherwise like `figure_of`."""
    each = np.asarray(values)
    n = len(each)
    if share and n and each[0] in {0, 1} and (each == each[0]).all():
        each = each.astype(bool)
    without = None
    if apart is not None and n:
        with warnings.catch_warnings():  # as for medians
            warnings.simplefilter("ignore", RuntimeWarning)
            without = np.nanmean(apart.without, axis=1)
    if each.dtype == bool:
        found = share_interval(int(each.sum()), n)
        se = float(np.sqrt(found.value * (1 - found.value) / max(1, n)))
        said = f"score interval over {over}"
        found, spread, words = _of_groups(found, (n, n, se, over), without, apart, f"{words}; 95 % {said}", share=True)
        return _figure(name, found, words, spread, NOT_FINITE, about)
    sums = np.stack([each.astype(np.float64), np.ones(n)], axis=1)
    figure = figure_of(name, sums, lambda s: s[..., 0] / s[..., 1], words, over=over, share=share, **about)
    if without is None or figure.ci_low is None or figure.ci_high is None:
        return figure
    found, se = Interval(float(figure.value or 0.0), figure.ci_low, figure.ci_high), figure.se or 0.0
    found, spread, words = _of_groups(found, (n, n, se, over), without, apart, figure.definition, share=share)
    return _figure(name, found, words, spread, NOT_FINITE, about)


def median_figure(
    name: str, values: ArrayLike, words: str, *, over: str, apart: Apart | None = None, **about: Unpack[About]
) -> Figure:
    """The median of `[n_units]` values with its interval from order statistics; otherwise like `figure_of`.

    Where every value was itself measured on the same documents, other documents would have moved all of them together:
    `apart` says how, and the interval is over both.
    """
    each = np.asarray(values, dtype=np.float64)
    found, n = median_interval(each), len(each)
    se = (found.high - found.low) / (2 * 1.959964)
    without = None
    if apart is not None and n >= 2:
        with warnings.catch_warnings():  # a group without which no value can be formed moves none that is known
            warnings.simplefilter("ignore", RuntimeWarning)
            without = np.nanmedian(apart.without, axis=1)
    said = f"95 % interval from order statistics over {over}"
    if n < FEWEST_OF_MEDIAN:
        without, said = None, f"no interval: {n} {over}, {FEWEST_OF_MEDIAN} needed"
    found, spread, words = _of_groups(found, (n, n, se, over), without, apart, f"{words}; {said}")
    return _figure(name, found, words, spread, NOT_FINITE, about)


def interval_figure(
    name: str, found: Interval, words: str, *, over: str, spread: tuple[int, float, float], **about: Unpack[About]
) -> Figure:
    """A figure whose interval was found elsewhere. `spread`: the units, how many of one size would tell as much, and
    the standard error; otherwise like `figure_of`."""
    return _figure(name, found, words, (*spread, over), NOT_FINITE, about)


def _of_groups(
    found: Interval, spread: Spread, without: Floats | None, apart: Apart | None, words: str, *, share: bool = False
) -> tuple[Interval, Spread, str]:
    """An interval over units, how uncertain it is and what is said of it, with what documents add: the value `without`
    each group of them."""
    if apart is None or without is None:
        return found, spread, words
    n_units, _, se, over = spread
    if apart.n_documents < LEAST_DOCUMENTS or len(without) < 2:
        counted = f"{apart.n_documents:.3g} of one size and {LEAST_DOCUMENTS:g} needed"
        none = f"no interval, with documents that count as {counted}"
        return Interval(found.value, np.nan, np.nan), (n_units, apart.n_documents, np.nan, over), f"{words}; {none}"
    n = len(without)
    of_documents = float(np.nansum(np.square(without - found.value)) * (n - 1) / n) + apart.more
    spread = (n_units, min(float(n_units), apart.n_documents), float(np.sqrt(se**2 + of_documents)), over)
    return (
        widened(found, of_documents, n - 1, share=share),
        spread,
        f"{words}, and the jackknife over {n} groups of documents{' and over draws' if apart.more else ''}",
    )


def _figure(name: str, found: Interval, definition: str, spread: Spread, reason: str, about: About) -> Figure:
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
