"""SCR, the removal of a spurious correlation (Karvonen et al. 2024, arXiv:2411.18895, after SHIFT).

A probe for a concept is made of texts in which another concept always goes with it, so that it reads both. The latents
that a probe for the other one owes most to are ablated; the score is the share of the lost accuracy that comes back:
(ablated - biased) / (oracle - biased), on texts in which the two are independent."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparselex.base.estimates import estimate, figure_of
from sparselex.base.figures import Figure
from sparselex.base.seeds import generator
from sparselex.evaluate.probes.asked import Asked, Fold, Ints
from sparselex.evaluate.probes.attributed import attributed, others_alike, spread_of, without
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.config import AblateTo, ProbesConfig
from sparselex.evaluate.probes.logistic import Bools, Floats, LinearProbe, fit_dense
from sparselex.evaluate.probes.records import AblationRow, Ablations

LEAST_GAP = 0.1
"""Accuracy that a spurious concept must have cost, for a share of it to mean anything."""

LEAST = 10
"""Texts of each combination of two concepts that either side must have."""

_DRAWS = 3
"""Draws of other latents for each seed."""


Values = Floats | np.float64
"""`[...]` of sums `[..., m]`."""


class Biased(NamedTuple):
    """What was learnt in one way to divide texts."""

    fold: Fold
    biased: LinearProbe
    """A probe for the concept, of texts where both go together."""

    spurious: LinearProbe
    """A probe for the other one, of texts to fit of all combinations alike."""

    scores: Floats
    """What the biased probe says of the texts to test."""

    oracle: Bools
    """Where a probe that was made of all texts to fit is right."""


def scr(
    texts: str, wanted: Asked, spurious: Asked, x: Floats, columns: Mapping[str, Columns], config: ProbesConfig
) -> Ablations:
    """SCR of one concept against another that was bound to it, both asked of the same texts with the same folds."""
    found = Ablations(metric="scr", texts=texts, name=f"{wanted.name}, bound to {spurious.name}")
    if (least := min(_smallest(wanted, spurious, rows) for fold in wanted.folds for rows in fold)) < LEAST:
        why = f"a combination of the two is that of {least} texts to fit or to test, and {LEAST} are needed"
        return found.model_copy(update={"failure": why})
    learnt = [_learnt(wanted, spurious, x, fold, config.seed) for fold in wanted.folds]
    path = f"probes/scr/{texts}/{wanted.name}, {spurious.name}"
    cells = _Cells(wanted, spurious, learnt)
    found = found.model_copy(update={"before": cells.before(path)})
    if (gap := cells.gap()) < LEAST_GAP:
        why = (
            f"the other concept cost {gap:.3f} of the accuracy, and {LEAST_GAP} are needed for a share of it to be one"
        )
        return found.model_copy(update={"failure": why})
    rows = list[AblationRow]()
    for name, one in columns.items():
        order = [attributed(one, made.spurious, made.fold.fit, spurious.has[made.fold.fit]) for made in learnt]
        for n in config.ns:
            right = [
                _right(wanted, one, made, taken[:n], config.ablate_to)
                for made, taken in zip(learnt, order, strict=True)
            ]
            null = _null(wanted, one, learnt, [taken[:n] for taken in order], cells, config)
            rows.append(_row(f"{path}/{name}/n={n}", name, n, cells, right, null))
    return found.model_copy(update={"rows": rows})


class _Cells:
    """The four combinations of two concepts, equally weighed, and sums over them by the word that tells the first."""

    def __init__(self, wanted: Asked, spurious: Asked, learnt: Sequence[Biased]):
        tests = [made.fold.test for made in learnt]
        rows = np.concatenate(tests)
        self.cell = 2 * wanted.has[rows] + spurious.has[rows]
        self.places = np.unique(wanted.units[rows], return_inverse=True)[1]
        self.ends = np.cumsum([len(test) for test in tests])[:-1]
        self.biased = np.concatenate([(made.scores > 0) == wanted.has[made.fold.test] for made in learnt])
        self.oracle = np.concatenate([made.oracle for made in learnt])

    def sums(self, *right: Bools) -> Floats:
        """`[n_units, 4 * (1 + m)]`: texts in each cell, and of each column those that are right."""
        one_hot = np.eye(4)[self.cell]
        parts = [one_hot, *(one_hot * flags[:, None] for flags in right)]
        found = np.zeros((int(self.places.max()) + 1, 4 * len(parts)))
        np.add.at(found, self.places, np.concatenate(parts, axis=1))
        return found

    def score(self, right: Bools) -> float:
        """The score of all texts together; NaN where nothing was lost."""
        return float(_score(self.sums(self.biased, self.oracle, right).sum(0)))

    def by_seed(self, right: Bools) -> list[float]:
        """The score in each way to divide texts."""
        parts = [np.split(column, self.ends) for column in (self.cell, self.biased, self.oracle, right)]
        return [float(_score(_summed(*part))) for part in zip(*parts, strict=True)]

    def before(self, path: str) -> dict[str, Figure]:
        """Accuracies of the biased probe and of the oracle."""
        words = {
            "biased": "accuracy, cells equally weighed, of a probe made of texts where both concepts go together",
            "oracle": "the same of a probe made of all texts to fit",
        }
        columns = {"biased": self.biased, "oracle": self.oracle}
        return {
            name: figure_of(
                f"{path}/{name}", self.sums(column), lambda s: _accuracy(s, 1), words[name], over="words", share=True
            )
            for name, column in columns.items()
        }

    def gap(self) -> float:
        """Accuracy that was lost."""
        sums = self.sums(self.biased, self.oracle).sum(0)
        return float(_accuracy(sums, 2) - _accuracy(sums, 1))


def _summed(cell: Ints, *right: Bools) -> Floats:
    one_hot = np.eye(4)[cell]
    return np.concatenate([one_hot.sum(0), *((one_hot * flags[:, None]).sum(0) for flags in right)])


def _accuracy(sums: Floats, column: int) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        each = sums[..., 4 * column : 4 * column + 4] / sums[..., :4]
    mean: Values = each.mean(-1)
    return mean


def _score(sums: Floats) -> Values:
    biased, oracle, ablated = (_accuracy(sums, column) for column in (1, 2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Values = (ablated - biased) / (oracle - biased)
    return found


def _smallest(wanted: Asked, spurious: Asked, rows: Ints) -> int:
    """Texts of the rarest of the four combinations."""
    return int(np.bincount(2 * wanted.has[rows] + spurious.has[rows], minlength=4).min())


def _balanced(wanted: Asked, spurious: Asked, rows: Ints, seed: int) -> Ints:
    """As many texts of each combination as there are of the rarest: a probe made of few with a concept and many without
    it would say of all that they have it not."""
    cells = 2 * wanted.has[rows] + spurious.has[rows]
    n, order = _smallest(wanted, spurious, rows), generator(seed, "combinations", wanted.name).permutation(len(rows))
    return np.sort(np.concatenate([rows[order[cells[order] == cell][:n]] for cell in range(4)]))


def _learnt(wanted: Asked, spurious: Asked, x: Floats, fold: Fold, seed: int) -> Biased:
    fit, test = _balanced(wanted, spurious, fold.fit, seed), fold.test
    bound = fit[wanted.has[fit] == spurious.has[fit]]
    biased = fit_dense(x[bound], wanted.has[bound], wanted.units[bound])
    oracle = fit_dense(x[fit], wanted.has[fit], wanted.units[fit])
    other = fit_dense(x[fit], spurious.has[fit], spurious.units[fit])
    right = (oracle.scores(x[test]) > 0) == wanted.has[test]
    return Biased(fold, biased, other, biased.scores(x[test]), right)


def _right(wanted: Asked, columns: Columns, made: Biased, taken: Ints, to: AblateTo) -> Bools:
    says = without(columns, made.biased, made.scores, made.fold, taken, to) > 0
    found: Bools = says == wanted.has[made.fold.test]
    return found


def _null(
    wanted: Asked,
    columns: Columns,
    learnt: Sequence[Biased],
    taken: Sequence[Ints],
    cells: _Cells,
    config: ProbesConfig,
) -> float:
    found = []
    for draw in range(_DRAWS):
        chance = generator(config.seed, "others that are active as often", wanted.name, len(taken[0]), draw)
        drawn = [others_alike(columns.rates, one, chance) for one in taken]
        right = [_right(wanted, columns, made, one, config.ablate_to) for made, one in zip(learnt, drawn, strict=True)]
        found.append(cells.score(np.concatenate(right)))
    return float(np.mean(found))


def _row(path: str, name: str, n: int, cells: _Cells, right: Sequence[Bools], null: float) -> AblationRow:
    joined = np.concatenate(right)
    made = estimate(
        path,
        cells.sums(cells.biased, cells.oracle, joined),
        _score,
        f"share of the accuracy that a spurious concept cost which comes back when {n} of the {name} are ablated, the "
        "mean over ways to divide words",
        over="words",
        n=len(joined),
        null=null,
        better="higher",
    )
    return AblationRow(name=name, n=n, score=made.figure, spread=spread_of(cells.by_seed(joined)))
