"""Measures of a rule, exact on every counted token of a split.

A rule predicts few values, and 0 elsewhere, so its score is a function of how many tokens, active tokens and how much
activation there are at each: all measures come from those sums, by document for the intervals. `tests/explain`
holds them against a scan of every token.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats, jackknife
from sparselex.explain.keys import KeyTable
from sparselex.explain.rules import Rule
from sparselex.features.counted import Column

_LEAST = 1.5
"""Effective documents from which a rule is held against its null: with so few the interval is wide, not missing."""

Values = Floats | np.float64
"""`[...]`, one for each set of sums; NumPy makes a scalar of the last one."""


def f1_of(sums: Floats) -> Values:
    """F1 from summed hits, called and active tokens, `[..., 3]`."""
    return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


class Confusion(NamedTuple):
    """Counts by document, `[n_documents]` each."""

    hits: NDArray[np.int64]
    called: NDArray[np.int64]
    active: NDArray[np.int64]

    @property
    def f1(self) -> float:
        """F1 over all documents; 0 where nothing is active and nothing is called."""
        total = self.called.sum() + self.active.sum()
        return float(2 * self.hits.sum() / total) if total else 0.0

    @property
    def f1_low(self) -> float:
        """Lower end of the 95 % interval of F1, F1 itself where all documents agree; NaN where only one has anything to
        say."""
        found = jackknife(np.stack(self, axis=1).astype(float), f1_of, (self.called + self.active).astype(float))
        return found.value if found.se == 0 else found.interval(_LEAST).low


def confusion(rule: Rule, table: KeyTable, column: Column) -> Confusion:
    """Hits, tokens called active, and active tokens, by document."""
    ranks, n = table.called(rule).ranks, table.n_documents
    hit = _active(column, table.n)[ranks]
    return Confusion(
        np.bincount(table.document[ranks[hit]], minlength=n),
        np.bincount(table.document[ranks], minlength=n),
        np.bincount(table.document[column.ranks], minlength=n),
    )


class Sums:
    """What every measure is made of: per document and prediction level, tokens, active tokens, activation.

    Level 0 is every token the rule says nothing about; higher levels predict more.
    """

    def __init__(self, rule: Rule, table: KeyTable, column: Column):
        self.levels = np.unique(np.concatenate([[0.0], rule.predictions]))
        n, m = table.n_documents, len(self.levels)
        ranks, predicted = table.called(rule)
        level = np.searchsorted(self.levels, predicted)
        value = np.zeros(len(ranks))
        hit = _active(column, table.n)[ranks]
        value[hit] = column.values[np.searchsorted(column.ranks, ranks[hit])]
        cell = table.document[ranks] * m + level
        self.tokens, self.active, self.mass = (
            np.bincount(cell, weight, n * m).reshape(n, m).astype(float) for weight in (None, hit, value)
        )
        owner = table.document[column.ranks]
        self.total_active = np.bincount(owner, minlength=n).astype(float)
        self.total_mass = np.bincount(owner, column.values, n).astype(float)
        self.total_square = np.bincount(owner, column.values**2, n).astype(float)
        self.tokens[:, 0] += table.counted.per_document - self.tokens.sum(1)
        self.active[:, 0] += self.total_active - self.active.sum(1)
        self.mass[:, 0] += self.total_mass - self.mass.sum(1)

    @property
    def sizes(self) -> Floats:
        """`[n_documents]`, tokens on which a document has anything to say: active ones, and those called so."""
        return self.total_active + self.tokens[:, 1:].sum(1)

    @cached_property
    def per_document(self) -> Floats:
        """`[n_documents, 3 m + 1]`: tokens, active and activation by level, then squared activation."""
        return np.concatenate([self.tokens, self.active, self.mass, self.total_square[:, None]], axis=1)

    def measures(self, sums: Floats) -> dict[str, Values]:
        """Every measure from summed columns `[..., 3 m + 1]`."""
        m = len(self.levels)
        tokens, active, mass, square = sums[..., :m], sums[..., m : 2 * m], sums[..., 2 * m : 3 * m], sums[..., -1]
        called, hits, positives = tokens[..., 1:].sum(-1), active[..., 1:].sum(-1), active.sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "f1": 2 * hits / (called + positives),
                "precision": hits / called,
                "recall": hits / positives,
                "mass_recall": mass[..., 1:].sum(-1) / mass.sum(-1),
                "auroc": auroc(active, tokens - active),
                "correlation": _correlation(self.levels, tokens, mass, square),
            }


def without_groups(rule: Rule, table: KeyTable, column: Column, groups: NDArray[np.int64]) -> dict[str, Floats]:
    """All measures that can be formed, without each group of documents, `[n_groups]` each; `groups` has the number of
    each document's."""
    sums = Sums(rule, table, column)
    of_groups = np.zeros((int(groups.max(initial=-1)) + 1, sums.per_document.shape[1]))
    np.add.at(of_groups, groups, sums.per_document)
    whole, without = sums.measures(of_groups.sum(0)), sums.measures(of_groups.sum(0) - of_groups)
    return {name: np.asarray(without[name]) for name, value in whole.items() if np.isfinite(value)}


def values(rule: Rule, table: KeyTable, column: Column) -> dict[str, float]:
    """All measures without intervals."""
    sums = Sums(rule, table, column)
    return {name: float(v) for name, v in sums.measures(sums.per_document.sum(0)).items() if np.isfinite(v)}


def auroc(positive: Floats, negative: Floats) -> Values:
    """Area under the ROC curve from counts by ascending level; ties count half."""
    below = negative.cumsum(-1) - negative
    won = (positive * (below + 0.5 * negative)).sum(-1)
    return won / (positive.sum(-1) * negative.sum(-1))


def _correlation(levels: Floats, tokens: Floats, mass: Floats, square: Values) -> Values:
    n, sum_p, sum_a = tokens.sum(-1), (levels * tokens).sum(-1), mass.sum(-1)
    cross = (levels * mass).sum(-1) - sum_p * sum_a / n
    spread_p = (levels**2 * tokens).sum(-1) - sum_p**2 / n
    return cross / np.sqrt(spread_p * (square - sum_a**2 / n))


def _active(column: Column, n: int) -> NDArray[np.bool_]:
    """`[n]`, whether a latent is active on each token."""
    found = np.zeros(n, dtype=bool)
    found[column.ranks] = True
    return found
