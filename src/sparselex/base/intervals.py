"""Intervals: the bootstrap behind every figure.

What is drawn again is the unit whose members are not independent: documents for figures over tokens (cluster bootstrap;
Field & Welsh 2007, "Bootstrapping clustered data"), latents for shares and means of latents.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import generator

Floats = NDArray[np.float64]

Statistic = Callable[[Floats], Floats | np.float64]
"""Summed columns `[..., m]` to values `[...]`, such as `lambda s: s[..., 0] / s[..., 1]`."""

N_DRAWS = 1000
"""Resamples behind the interval of a figure."""

_MOST_KEPT = 1 << 24
"""Counts (128 MiB of them) up to which the draws of one number of units are made at once, and kept for the next figure
over as many."""

_CHUNK = 1 << 22
"""Counts in memory where there are more."""


class Interval(NamedTuple):
    """A value with its 95 % interval; NaN for what cannot be formed."""

    value: float
    low: float
    high: float


class Resampled(NamedTuple):
    """Sums over units, and over the same units drawn again: made once, for all statistics of these sums."""

    n_units: int
    total: Floats
    """`[m]`, over every unit once."""

    draws: Floats
    """`[n_draws, m]`, one row for each resample; no rows with fewer than two units."""


def resample(per_unit: Floats, *, seed: int = 0, n_draws: int = N_DRAWS) -> Resampled:
    """Draw the rows of `per_unit`, the `[n_units, m]` sums that each unit contributes, again with replacement.

    The draws depend on the seed and the number of units alone. Memory is bounded: over many units the draws are made
    one part after another, from the same stream.
    """
    per_unit = np.asarray(per_unit, dtype=np.float64)
    n_units, total = len(per_unit), per_unit.sum(0)
    if n_units < 2:
        return Resampled(n_units, total, np.empty((0, per_unit.shape[1])))
    if n_units * n_draws <= _MOST_KEPT:
        return Resampled(n_units, total, _kept_counts(n_units, n_draws, seed) @ per_unit)
    parts = _counts(n_units, n_draws, seed, max(1, _CHUNK // n_units))
    return Resampled(n_units, total, np.concatenate([part @ per_unit for part in parts]))


def interval_of(sums: Resampled, statistic: Statistic) -> Interval:
    """A statistic of all units with its 2.5 % and 97.5 % quantiles over the resamples (percentile bootstrap).

    Resamples in which it is not finite are left out. Without any, as with fewer than two units, both ends are NaN.
    """
    return intervals_of(sums, lambda summed: {"": statistic(summed)})[""]


def intervals_of(
    sums: Resampled, statistics: Callable[[Floats], dict[str, Floats | np.float64]]
) -> dict[str, Interval]:
    """`interval_of` every one of several statistics that are computed together, by name."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values, drawn = statistics(sums.total), statistics(sums.draws)
    return {name: Interval(float(value), *_ends(np.asarray(drawn[name]))) for name, value in values.items()}


def _ends(draws: Floats) -> tuple[float, float]:
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_interval(per_unit: Floats, statistic: Statistic, *, seed: int = 0, n_draws: int = N_DRAWS) -> Interval:
    """`interval_of` one statistic of sums that are needed for nothing else; arguments as in `resample`."""
    return interval_of(resample(per_unit, seed=seed, n_draws=n_draws), statistic)


def median_interval(values: Floats) -> Interval:
    """The median of `[n]` values with its distribution-free 95 % interval from order statistics (ranks `n / 2 ± 0.98
    √n`, the binomial's normal approximation); NaN without values, and no ends with fewer than two."""
    ordered, n = np.sort(values), len(values)
    if n < 2:
        return Interval(float(ordered[0]) if n else float("nan"), float("nan"), float("nan"))
    half = 0.98 * np.sqrt(n)
    low, high = max(0, int(np.floor(n / 2 - half))), min(n - 1, int(np.ceil(n / 2 + half)))
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def _counts(n_units: int, n_draws: int, seed: int, at_once: int) -> Iterator[Floats]:
    """How often each unit is drawn in each resample, `[up to at_once, n_units]` at a time."""
    rng = generator(seed, "bootstrap", n_units)
    shares = np.full(n_units, 1 / n_units)
    for start in range(0, n_draws, at_once):
        yield rng.multinomial(n_units, shares, size=min(at_once, n_draws - start)).astype(np.float64)


@lru_cache(maxsize=4)
def _kept_counts(n_units: int, n_draws: int, seed: int) -> Floats:
    return next(_counts(n_units, n_draws, seed, n_draws))
