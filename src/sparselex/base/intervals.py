"""Intervals: the bootstrap over documents behind every figure.

Tokens of one document are not independent, so documents are the units that are drawn again
(cluster bootstrap; Field & Welsh 2007, "Bootstrapping clustered data").
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import generator

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    per_document: Floats, statistic: Callable[[Floats], Floats | np.float64], *, seed: int = 0, n_draws: int = 1000
) -> Interval:
    """Percentile bootstrap over documents of a statistic of sums.

    Args:
        per_document: `[n_documents, m]` sums that each document contributes (float64).
        statistic: maps summed columns `[..., m]` to values `[...]`, such as `lambda s: s[..., 0] / s[..., 1]`.
        seed: seed of the draws.
        n_draws: number of resamples.

    Returns the statistic of all documents with its 2.5 % and 97.5 % quantiles over the draws (draws in which the
    statistic is not finite are left out; with fewer than two documents both ends are NaN).
    """
    per_document = np.asarray(per_document, dtype=np.float64)
    n_documents = len(per_document)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(per_document.sum(0)))
        if n_documents < 2:
            return Interval(value, float("nan"), float("nan"))
        draws = np.asarray(statistic(_weights(n_documents, n_draws, seed) @ per_document), dtype=np.float64)
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=8)
def _weights(n_documents: int, n_draws: int, seed: int) -> Floats:
    """How often each document is drawn in each resample; the same for every figure over the same documents."""
    rng = generator(seed, "bootstrap", n_documents)
    shares = np.full(n_documents, 1 / n_documents)
    return rng.multinomial(n_documents, shares, size=n_draws).astype(np.float64)
