"""TPP, targeted perturbation of probes (Karvonen et al. 2024, arXiv:2411.18895).

One probe for each of several values of a concept. The latents that one of them owes most to are ablated; the score is
by how much its own accuracy falls, less by how much those of the others do, the mean over values. The accuracy of a
probe is the mean of those on texts with its value and without it."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.seeds import generator
from sparselex.evaluate.probes.asked import Asked, Fold, Ints
from sparselex.evaluate.probes.attributed import attributed, others_alike, spread_of, without
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.config import AblateTo, ProbesConfig
from sparselex.evaluate.probes.logistic import Floats, LinearProbe, fit_dense
from sparselex.evaluate.probes.records import AblationRow, Ablations

LEAST_ACCURACY = 0.6
"""Balanced accuracy of the probes below which there is nothing to be taken from them."""

_DRAWS = 3
"""Draws of other latents for each seed."""

Values = Floats | np.float64
"""`[...]` of sums `[..., m]`."""

Probes = Sequence[LinearProbe]
"""One for each value."""


def tpp(
    texts: str,
    name: str,
    values: Sequence[Asked],
    x: Floats,
    columns: Mapping[str, Columns],
    config: ProbesConfig,
) -> Ablations:
    """TPP over the values of one concept, each asked of the same texts with the same folds."""
    folds = values[0].folds
    probes = [_probes(values, x, fold) for fold in folds]
    sums = _Sums(values, folds)
    path, rows = f"probes/tpp/{texts}/{name}", list[AblationRow]()
    before = _before(path, sums, [_right(x, made, fold, values) for made, fold in zip(probes, folds, strict=True)])
    found = Ablations(metric="tpp", texts=texts, name=name, before={"accuracy": before})
    if before.value is None or before.value < LEAST_ACCURACY:
        right = before.value or 0.0
        why = f"probes are right on {right:.2f} of the texts, and below {LEAST_ACCURACY} there is little to lose"
        return found.model_copy(update={"failure": why})
    for kind, one in columns.items():
        orders = [
            [attributed(one, probe, fold.fit, value.has[fold.fit]) for probe, value in zip(made, values, strict=True)]
            for made, fold in zip(probes, folds, strict=True)
        ]
        for n in config.ns:
            taken = [[order[:n] for order in of_fold] for of_fold in orders]
            lost = _lost(x, one, probes, folds, taken, values, config.ablate_to)
            null = _null(x, one, probes, folds, taken, values, sums, config)
            rows.append(_row(f"{path}/{kind}/n={n}", kind, n, sums, lost, null))
    return found.model_copy(update={"rows": rows})


class _Sums:
    """Texts of all ways to divide them, and sums over them by the word that tells the concept."""

    def __init__(self, values: Sequence[Asked], folds: Sequence[Fold]):
        tests = [fold.test for fold in folds]
        rows = np.concatenate(tests)
        self.value = np.argmax([asked.has[rows] for asked in values], axis=0)
        self.m, self.n = len(values), len(rows)
        self.places = np.unique(values[0].units[rows], return_inverse=True)[1]
        self.ends = np.cumsum([len(test) for test in tests])[:-1]

    def per_word(self, of_texts: Floats) -> Floats:
        """`[n_units, m + m * q]` of `[n, q]`: texts of each value, and sums over them."""
        found = np.zeros((int(self.places.max()) + 1, self.m * (1 + of_texts.shape[1])))
        np.add.at(found, self.places, self._spread(self.value, of_texts))
        return found

    def _spread(self, value: Ints, of_texts: Floats) -> Floats:
        one_hot = np.eye(self.m)[value]
        return np.concatenate([one_hot, (one_hot[:, :, None] * of_texts[:, None]).reshape(len(value), -1)], axis=1)

    def balanced(self, sums: Floats) -> Floats:
        """`[..., q]`, where each column is of the probe `column % m`: the mean over texts with its value, and over
        those without."""
        counts = sums[..., : self.m]
        by_value = sums[..., self.m :].reshape(*sums.shape[:-1], self.m, -1)
        own = np.eye(self.m)[:, np.arange(by_value.shape[-1]) % self.m]
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = (by_value * own).sum(-2) / (counts @ own)
            outside = (by_value * (1 - own)).sum(-2) / (counts @ (1 - own))
        found: Floats = (inside + outside) / 2
        return found

    def score(self, sums: Floats) -> Values:
        """TPP, of what each of `m` ablations costs each of `m` probes on each text."""
        lost = self.balanced(sums).reshape(*sums.shape[:-1], self.m, self.m)
        own = np.eye(self.m, dtype=bool)
        found: Values = lost[..., own].mean(-1) - lost[..., ~own].mean(-1)
        return found

    def by_seed(self, lost: Floats) -> list[float]:
        """The score in each way to divide texts."""
        parts = zip(np.split(self.value, self.ends), np.split(lost, self.ends), strict=True)
        return [float(self.score(self._spread(value, part).sum(0))) for value, part in parts]


def _probes(values: Sequence[Asked], x: Floats, fold: Fold) -> Probes:
    return [fit_dense(x[fold.fit], asked.has[fold.fit], asked.units[fold.fit]) for asked in values]


def _right(x: Floats, probes: Probes, fold: Fold, values: Sequence[Asked]) -> Floats:
    """`[n_test, m]`, where each probe is right."""
    pairs = zip(probes, values, strict=True)
    return np.stack([(probe.scores(x[fold.test]) > 0) == one.has[fold.test] for probe, one in pairs], 1).astype(float)


def _lost(
    x: Floats,
    columns: Columns,
    probes: Sequence[Probes],
    folds: Sequence[Fold],
    taken: Sequence[Sequence[Ints]],
    values: Sequence[Asked],
    to: AblateTo,
) -> Floats:
    """`[n, m * m]`: what the ablation for one value costs each probe on each text, 1, 0 or -1."""
    found = list[Floats]()
    for made, fold, of_values in zip(probes, folds, taken, strict=True):
        before, has = _right(x, made, fold, values), np.stack([one.has[fold.test] for one in values], 1)
        scores = [probe.scores(x[fold.test]) for probe in made]
        parts = list[Floats]()
        for some in of_values:
            each = [without(columns, one, said, fold, some, to) for one, said in zip(made, scores, strict=True)]
            parts.append(before - ((np.stack(each, 1) > 0) == has))
        found.append(np.concatenate(parts, axis=1))
    return np.concatenate(found)


def _null(
    x: Floats,
    columns: Columns,
    probes: Sequence[Probes],
    folds: Sequence[Fold],
    taken: Sequence[Sequence[Ints]],
    values: Sequence[Asked],
    sums: _Sums,
    config: ProbesConfig,
) -> float:
    """The score of as many others that are active as often."""
    found = []
    for draw in range(_DRAWS):
        chance = generator(config.seed, "others that are active as often", "tpp", len(taken[0][0]), draw)
        drawn = [[others_alike(columns.rates, one, chance) for one in of_fold] for of_fold in taken]
        found.append(
            float(sums.score(sums.per_word(_lost(x, columns, probes, folds, drawn, values, config.ablate_to)).sum(0)))
        )
    return float(np.mean(found))


def _row(path: str, name: str, n: int, sums: _Sums, lost: Floats, null: float) -> AblationRow:
    figure = figure_of(
        path,
        sums.per_word(lost),
        sums.score,
        f"by how much ablating the {n} {name} that a probe owes most to lowers its own balanced accuracy, less that of "
        "the others, the mean over values and over ways to divide words",
        over="words",
        n=sums.n,
        null=null,
        better="higher",
    )
    return AblationRow(name=name, n=n, score=figure, spread=spread_of(sums.by_seed(lost)))


def _before(path: str, sums: _Sums, right: Sequence[Floats]) -> Figure:
    words = "balanced accuracy of the probes with nothing ablated, the mean over values"
    per_word = sums.per_word(np.concatenate(right))
    mean = lambda s: sums.balanced(s).mean(-1)
    return figure_of(f"{path}/accuracy", per_word, mean, words, over="words", n=sums.n, share=True)
