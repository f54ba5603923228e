"""Intervals: how far a value may be off because other units might have been looked at.

A unit is what is independent of the others: documents for figures over tokens, latents for means over latents. The
variance is that of the jackknife, each unit left out in turn (the estimator CV3 of MacKinnon, Nielsen and Webb 2023,
which errs on the wide side where units are few or uneven), the quantile that of Student's t with as many degrees of
freedom as there are *effective* units. The percentile bootstrap is far too narrow for documents, a few of which hold
half of all tokens; docs/report.md has what either covers.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]

Statistic = Callable[[Floats], Floats | np.float64]
"""Summed columns `[..., m]` to values `[...]`, such as `lambda s: s[..., 0] / s[..., 1]`."""

LEAST_UNITS = 5.0
"""Effective units below which there is no interval."""

LEAST_DOCUMENTS = 40.0
"""The same for figures over all tokens of documents: one document in twenty is of another kind than the rest, and fewer
documents too often hold none of these (docs/report.md has what was measured)."""

_NORMAL_FOURTH = 2.0
"""Degrees of freedom for each squared sum of squares over the sum of fourth powers of what units contribute: 3 if these
were normal, less because so short a sum of fourth powers is mostly too small."""

LEVEL = 0.95
"""Chance that an interval holds the value."""

_UPPER = 0.975
_NONE = float("nan")


class Interval(NamedTuple):
    """A value with its interval, of 95 % where nothing else is said; NaN for what cannot be formed."""

    value: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Both ends as records have them: None for what cannot be formed."""
        low, high = (float(end) if np.isfinite(end) else None for end in (self.low, self.high))
        return low, high


class Jackknife(NamedTuple):
    """A value, and what it owes to each unit."""

    value: float
    influences: Floats
    """`[n_units]`: how much each moves the value, scaled so that their squares sum to its variance."""

    n_effective: float
    """Units of one size that would tell as much as these do."""

    @property
    def se(self) -> float:
        """Standard error; NaN where it cannot be formed."""
        return float(np.sqrt(np.square(self.influences).sum())) if self.n_effective > 0 else _NONE

    @property
    def degrees(self) -> float:
        """Degrees of freedom of its t: the effective units less one, and fewer where a few of them do all the
        moving."""
        squares = np.square(self.influences)
        fourth = float(np.square(squares).sum())
        moving = _NORMAL_FOURTH * float(squares.sum()) ** 2 / fourth if fourth else 1.0
        return max(1.0, min(self.n_effective, moving) - 1)

    def interval(
        self, least: float = LEAST_UNITS, *, share: bool = False, correlation: bool = False, level: float = LEVEL
    ) -> Interval:
        """The value with its interval, which is missing below `least` effective units, and where all units agree to the
        last digit: that says nothing of others. A `share` lies between 0 and 1, a `correlation` between -1 and 1, and
        so do their intervals, by way of the score, as that of as many independent flags as have this variance, and of
        Fisher's z. At either end they have none: nothing says how many of the units had a part in it."""
        se, quantile = self.se, float(stdtrit(self.degrees, (1 + level) / 2))
        if not (np.isfinite(self.value) and np.isfinite(se) and se > 0 and self.n_effective >= least):
            return Interval(self.value, _NONE, _NONE)
        if share and not 0 < self.value < 1:
            return Interval(self.value, _NONE, _NONE)
        if share:
            return _of_score(self.value, self.value * (1 - self.value) / se**2, quantile)
        if correlation and not -1 < self.value < 1:
            return Interval(self.value, _NONE, _NONE)
        if correlation:
            half, z = quantile * se / (1 - self.value**2), np.arctanh(self.value)
            return Interval(self.value, float(np.tanh(z - half)), float(np.tanh(z + half)))
        return Interval(self.value, self.value - quantile * se, self.value + quantile * se)


class Difference(NamedTuple):
    """How far two values lie apart."""

    value: float
    low: float
    high: float
    p: float
    """Chance of so large a difference, in either direction, between equal ones."""


def jackknife(per_unit: Floats, statistic: Statistic, sizes: Floats | None = None) -> Jackknife:
    """A statistic of all units, and of all but each of them.

    Args:
        per_unit: `[n_units, m]` sums that each unit contributes.
        statistic: maps summed columns to values.
        sizes: `[n_units]`, how much of the whole each unit is; left out, all are alike.
    """
    return jackknives(per_unit, lambda summed: {"": statistic(summed)}, sizes)[""]


def jackknives(
    per_unit: Floats,
    statistics: Callable[[Floats], Mapping[str, Floats | np.float64]],
    sizes: Floats | None = None,
) -> dict[str, Jackknife]:
    """`jackknife` of several statistics that are computed together, by name."""
    per_unit = np.asarray(per_unit, dtype=np.float64)
    n, total = len(per_unit), per_unit.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values, without = statistics(total), statistics(total - per_unit)
    effective = effective_units(np.ones(n) if sizes is None else sizes)
    scale = np.sqrt((n - 1) / n) if n else 0.0
    found = {}
    for name, value in values.items():
        with np.errstate(invalid="ignore"):
            influences = (float(value) - np.asarray(without[name], dtype=np.float64)) * scale
        known = n > 1 and bool(np.isfinite(influences).all())
        found[name] = Jackknife(float(value), influences, effective if known else 0.0)
    return found


def effective_units(sizes: Floats | NDArray[np.int64]) -> float:
    """Units of one size whose mean is as uncertain as that of units of these sizes (Kish 1965)."""
    sizes = np.asarray(sizes, dtype=np.float64)
    squares = float(np.square(sizes).sum())
    return float(sizes.sum()) ** 2 / squares if squares else 0.0


def even_groups(sizes: Floats | NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """`[n_units]`, the group of each of units of these sizes: the largest first, into the smallest group so far."""
    totals, found = np.zeros(min(n_groups, len(sizes))), np.zeros(len(sizes), dtype=np.int64)
    for unit in np.argsort(-np.asarray(sizes), kind="stable"):
        found[unit] = totals.argmin()
        totals[found[unit]] += sizes[unit]
    return found


def difference(one: Jackknife, other: Jackknife, *, paired: bool) -> Difference:
    """`one` less `other`; where they are `paired`, both were measured on the same units, and what moves both alike
    cancels."""
    if paired:
        both = Jackknife(one.value - other.value, one.influences - other.influences, min(one[2], other[2]))
    else:
        influences = np.concatenate([one.influences, other.influences])
        both = Jackknife(one.value - other.value, influences, min(one[2], other[2]))
    low, high = both.interval(0.0)[1:]
    se = both.se
    if not np.isfinite(se):
        return Difference(both.value, _NONE, _NONE, 1.0)
    if se == 0:
        return Difference(both.value, both.value, both.value, 1.0 if both.value == 0 else 0.0)
    return Difference(both.value, low, high, float(2 * stdtr(both.degrees, -abs(both.value) / se)))


def share_interval(n_true: int | float, n: int, *, level: float = LEVEL) -> Interval:
    """A share of `n` independent units with its score interval (Wilson 1927), which is never empty. A unit may count
    half: the interval is then wider than need be."""
    if n < 2:
        return Interval(n_true / n if n else _NONE, _NONE, _NONE)
    return _of_score(n_true / n, n, float(ndtri((1 + level) / 2)))


def _of_score(share: float, n: float, quantile: float) -> Interval:
    """All shares from which that of `n` units is no further away than `quantile` of *their* standard errors (Wilson
    1927): near either end it is not symmetric, and never empty."""
    more = quantile**2 / n
    centre = (share + more / 2) / (1 + more)
    half = float(np.sqrt(more * share * (1 - share) + more**2 / 4)) / (1 + more)
    # At either end rounding alone would keep it from there.
    low, high = 0.0 if share == 0 else float(centre - half), 1.0 if share == 1 else float(centre + half)
    return Interval(share, max(0.0, low), min(1.0, high))


FEWEST_OF_MEDIAN = 6
"""Values from which the smallest and the largest hold the median in 95 % of cases: 1 - 2 / 2^6 is 97 %."""


def median_interval(values: Floats) -> Interval:
    """The median of `[n]` values with its distribution-free 95 % interval from order statistics (ranks `n / 2 ± 0.98
    √n`, the binomial's normal approximation); NaN without values, and no ends with fewer than six, of which even the
    smallest and the largest hold the median in less than 95 %."""
    ordered, n = np.sort(values), len(values)
    if n < FEWEST_OF_MEDIAN:
        return Interval(float(np.median(ordered)) if n else _NONE, _NONE, _NONE)
    half = 0.98 * np.sqrt(n)
    low, high = max(0, int(np.floor(n / 2 - half))), min(n - 1, int(np.ceil(n / 2 + half)))
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def widened(found: Interval, variance: float, degrees: int, *, share: bool) -> Interval:
    """Either end as far out as it is moved by two independent causes together: what the interval is of, and another
    with that variance, told from `degrees` degrees of freedom. A `share` stays between 0 and 1."""
    more = float(stdtrit(degrees, _UPPER)) ** 2 * variance
    low, high = (float(np.sqrt((end - found.value) ** 2 + more)) for end in (found.low, found.high))
    if share:
        return Interval(found.value, max(0.0, found.value - low), min(1.0, found.value + high))
    return Interval(found.value, found.value - low, found.value + high)
