"""How far seeds agree on an order: Kendall's coefficient of concordance, with what chance gives."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from sparselex.base.estimates import interval_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats, Interval, Jackknife
from sparselex.base.seeds import generator

_DRAWS = 10_000
"""Shuffled orders from which the chance of so much agreement is told."""

_LEAST_TYPES = 5.0
"""Types below which leaving one out says nothing of others."""


def concordance(values: Floats) -> float:
    """Kendall's W of `[n_seeds, n_types]` values: 1 where all seeds have one order, `1 / n_seeds` on average where
    their orders have nothing to do with each other (Kendall and Babington Smith 1939, Ann. Math. Statist. 10(3)), ties
    by their mean rank, corrected for. NaN for fewer than two seeds or types."""
    n_seeds, n_types = values.shape
    if n_seeds < 2 or n_types < 2:
        return float("nan")
    ranks = np.stack([rankdata(row) for row in values])
    return _of_ranks(ranks)


def _of_ranks(ranks: Floats) -> float:
    n_seeds, n_types = ranks.shape
    spread = float(np.square(ranks.sum(0) - n_seeds * (n_types + 1) / 2).sum())
    ties = sum(float((n**3 - n).sum()) for row in ranks for n in [np.unique(row, return_counts=True)[1]])
    most = n_seeds**2 * (n_types**3 - n_types) - n_seeds * ties
    return 12 * spread / most if most else float("nan")


def concordance_figure(name: str, values: Mapping[str, Sequence[float]], measure: str) -> Figure:
    """Kendall's W over types, whose values are given one a seed, with its interval over types and its null."""
    table = np.array(list(values.values()), dtype=np.float64).T if values else np.zeros((0, 0))
    n_seeds, n_types = table.shape
    w = concordance(table)
    words = (
        f"Kendall's W of the orders that {n_seeds} seeds give {n_types} types by {measure}: 1 where all agree; null: "
        "its mean over unrelated orders"
    )
    if not np.isfinite(w):
        reason = f"{n_seeds} seeds of {n_types} types have no order to agree on: two of each are needed"
        return interval_figure(name, _alone(w), words, over="types", spread=(n_types, n_types, 0.0), undefined=reason)
    words += f"; so much agreement has a chance of {_chance(table, w):.2g} among {_DRAWS:,} shuffles"
    found, se = _over_types(table, w)
    words += "; 95 % jackknife interval over types" if np.isfinite(found.low) else "; no interval, W is at its end"
    spread = (n_types, float(n_types), se)
    return interval_figure(name, found, words, over="types", spread=spread, null=1 / n_seeds, better="higher")


def _alone(value: float) -> Interval:
    return Interval(value, float("nan"), float("nan"))


def _over_types(table: Floats, w: float) -> tuple[Interval, float]:
    """The interval of W and its standard error, each type left out in turn."""
    n_types = table.shape[1]
    if n_types < 3:
        return _alone(w), float("nan")
    without = np.array([concordance(np.delete(table, one, axis=1)) for one in range(n_types)])
    each = Jackknife(w, (w - without) * np.sqrt((n_types - 1) / n_types), n_types)
    return each.interval(_LEAST_TYPES, share=True), each.se


def _chance(table: Floats, w: float) -> float:
    """Share of shuffled orders that agree as much, this one counted among them."""
    draws = generator(0, "concordance")
    n_seeds, n_types = table.shape
    ranks = draws.permuted(np.tile(np.arange(1.0, n_types + 1), (_DRAWS, n_seeds, 1)), axis=2)
    spread = np.square(ranks.sum(1) - n_seeds * (n_types + 1) / 2).sum(1)
    at_chance = 12 * spread / (n_seeds**2 * (n_types**3 - n_types))
    return float((1 + (at_chance >= w - 1e-12).sum()) / (1 + _DRAWS))
