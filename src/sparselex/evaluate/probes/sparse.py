"""Sparse probing (Gurnee et al. 2023, arXiv:2305.01610): how well a few coordinates tell a concept.

Coordinates are chosen on the texts to fit, by the difference of their means with and without the concept. Other than
there the difference is divided by the standard deviation, for all kinds of coordinates alike: a coordinate of a large
scale, as some neurons and the first principal components are, would else be taken for its scale."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.base.estimates import figure_of, interval_figure, mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Jackknife
from sparselex.base.seeds import generator
from sparselex.evaluate.probes.asked import Asked, Ints, shuffled
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.logistic import Bools, Floats, LinearProbe, fit_dense, fit_probe
from sparselex.evaluate.probes.records import DENSE, LATENTS, Concept, ProbeRow

_NULLS = 5
"""Draws of shuffled labels for each way to divide texts."""

LEAST = 20
"""Texts with a concept, and without it, that either side must have."""


class Told(NamedTuple):
    """What probes said of texts that they were not made of: those of all ways to divide them behind each other."""

    scores: Floats
    """`[n]`, above 0 where it says that a text has the concept."""

    has: Bools
    """`[n]`, which have it."""

    units: Ints
    """`[n]`, the word or document of each."""

    folds: Ints
    """`[n]`, the way to divide texts."""


def too_few(asked: Asked) -> str:
    """Why a concept cannot be probed; empty where it can."""
    for fold in asked.folds:
        for what, side in (("to fit", fold.fit), ("to test", fold.test)):
            n = int(asked.has[side].sum())
            if min(n, len(side) - n) < LEAST:
                return f"of {len(side)} places {what} {n} have it, and {LEAST} of either kind are needed"
    return ""


def probe(texts: str, asked: Asked, x: Floats, columns: Mapping[str, Columns], ks: Sequence[int], seed: int) -> Concept:
    """One concept, by every kind of coordinates and by all activations `x` `[n, d]`."""
    rows = [
        _row(f"probes/sparse/{texts}/{asked.name}", name, k, told, null)
        for name, k, told, null in _all_told(asked, x, columns, ks, seed)
    ]
    first = asked.folds[0]
    share = float(np.mean([asked.has[fold.test].mean() for fold in asked.folds]))
    return Concept(
        texts=texts,
        name=asked.name,
        n_fit=len(first.fit),
        n_test=len(first.test),
        majority=max(share, 1 - share),
        rows=rows,
    )


def chosen(values: csr_array, has: Bools, k: int) -> Ints:
    """The `k` columns whose means differ most, in standard deviations; those that are 0 everywhere come last."""
    n, squares = len(has), values.multiply(values)
    mean, with_it = values.sum(0) / n, values.T @ has / max(1, has.sum())
    without = values.T @ ~has / max(1, (~has).sum())
    deviation = np.sqrt(np.maximum(squares.sum(0) / n - mean**2, 0))
    apart = np.abs(with_it - without) / np.maximum(deviation, 1e-12)
    return np.argsort(-apart, kind="stable")[:k]


def auroc_figure(name: str, told: Told, words: str, over: str, null: float | None) -> Figure:
    """AUROC, the mean over ways to divide texts, with its interval over units: each is left out in turn wherever it
    was tested."""
    value, without = mean_auroc(told)
    n = len(without)
    known = n > 1 and bool(np.isfinite(without).all())
    spread = Jackknife(value, (value - without) * np.sqrt((n - 1) / max(1, n)), float(n) if known else 0.0)
    interval = spread.interval(share=True)
    about = (n, float(n), spread.se)
    said = f"{words}; 95 % interval from leaving out each of the {over}"
    return interval_figure(name, interval, said, over=over, spread=about, n=len(told.has), null=null, better="higher")


def mean_auroc(told: Told) -> tuple[float, Floats]:
    """The mean over ways to divide texts, and `[n_units]` the same without each unit."""
    units = np.unique(told.units)
    whole, less = [], []
    for fold in np.unique(told.folds):
        own = told.folds == fold
        scores, has = told.scores[own], told.has[own]
        places = np.searchsorted(units, told.units[own])
        above = (scores[has][:, None] > scores[~has]) + 0.5 * (scores[has][:, None] == scores[~has])
        sums = np.bincount(places[has], above.sum(1), len(units)) + np.bincount(places[~has], above.sum(0), len(units))
        both = np.zeros(len(units))
        same = places[has][:, None] == places[~has]
        np.add.at(both, np.broadcast_to(places[has][:, None], same.shape)[same], above[same])
        n_with, n_without = (np.bincount(places[side], minlength=len(units)) for side in (has, ~has))
        pairs = (has.sum() - n_with) * ((~has).sum() - n_without)
        whole.append(above.mean())
        less.append((above.sum() - sums + both) / np.where(pairs > 0, pairs, np.nan))
    return float(np.mean(whole)), np.mean(less, axis=0)


def _all_told(
    asked: Asked, x: Floats, columns: Mapping[str, Columns], ks: Sequence[int], seed: int
) -> Iterator[tuple[str, int, Told, float | None]]:
    for name, one in columns.items():
        fits = [values_of(one, fold.fit) for fold in asked.folds]
        for k in ks:
            told = _told(asked, [_sparse(one.values, asked, number, k) for number in range(len(fits))])
            yield name, k, told, _null(one.values, asked, k, seed) if name == LATENTS else None
    dense = [fit_dense(x[fold.fit], asked.has[fold.fit], asked.units[fold.fit]) for fold in asked.folds]
    yield DENSE, 0, _told(asked, [one.scores(x[fold.test]) for one, fold in zip(dense, asked.folds, strict=True)]), None


def values_of(columns: Columns, rows: Ints) -> csr_array:
    """What a kind of coordinates makes of some of the texts."""
    found: csr_array = columns.values[rows]
    return found


def _sparse(values: csr_array, asked: Asked, number: int, k: int, has: Bools | None = None) -> Floats:
    """Scores of the texts to test, by `k` columns that are chosen and weighed on the others."""
    fold = asked.folds[number]
    labels = asked.has[fold.fit] if has is None else has
    fit = values[fold.fit]
    some = chosen(fit, labels, k)
    made: LinearProbe = fit_probe(fit[:, some].toarray(), labels)
    return made.scores(values[fold.test][:, some].toarray())


def _null(values: csr_array, asked: Asked, k: int, seed: int) -> float:
    """AUROC of probes that are made of labels of others."""
    found = []
    for draw in range(_NULLS):
        chance = generator(seed, "shuffled labels", asked.name, k, draw)
        mixed = [shuffled(asked, fold.fit, chance) for fold in asked.folds]
        told = _told(asked, [_sparse(values, asked, number, k, has) for number, has in enumerate(mixed)])
        found.append(mean_auroc(told)[0])
    return float(np.mean(found))


def _told(asked: Asked, scores: Sequence[Floats]) -> Told:
    tests = [fold.test for fold in asked.folds]
    rows = np.concatenate(tests)
    numbers = np.repeat(np.arange(len(tests)), [len(test) for test in tests])
    return Told(np.concatenate(scores), asked.has[rows], asked.units[rows], numbers)


def _row(path: str, name: str, k: int, told: Told, null: float | None) -> ProbeRow:
    read = f"{k} of the {name}" if k else "all of the site"
    words = f"by a probe that reads {read}, on words or documents that it was not made of"
    label, over = f"{path}/{name}/k={k}", "words or documents"
    says = told.scores > 0
    sums = lambda *flags: _by_unit(told.units, np.stack(flags, axis=1))
    right = sums(says == told.has, np.ones(len(says)))
    counts = sums(says & told.has, says & ~told.has, ~says & told.has)
    f1 = lambda s: 2 * s[..., 0] / (2 * s[..., 0] + s[..., 1] + s[..., 2])
    accuracy = lambda s: s[..., 0] / s[..., 1]
    figure = partial(figure_of, over=over, share=True, n=len(says), better="higher")
    return ProbeRow(
        name=name,
        k=k,
        auroc=auroc_figure(f"{label}/auroc", told, f"AUROC {words}", over, null),
        accuracy=figure(f"{label}/accuracy", right, accuracy, f"accuracy {words}"),
        f1=figure(f"{label}/f1", counts, f1, f"F1 {words}"),
    )


def _by_unit(units: Ints, values: NDArray[Any]) -> Floats:
    """`[n_units, m]` sums."""
    places = np.unique(units, return_inverse=True)[1]
    return np.stack([np.bincount(places, column) for column in values.T.astype(np.float64)], axis=1)


def headlines(concepts: Sequence[Concept]) -> tuple[list[Figure], dict[str, list[Figure]]]:
    """Mean AUROC over concepts for each `k`, and the same of every other kind."""
    found, controls = list[Figure](), dict[str, list[Figure]]()
    ks = sorted({row.k for concept in concepts for row in concept.rows if row.k})
    names = dict.fromkeys(row.name for concept in concepts for row in concept.rows)
    for k in ks:
        for name in names:
            figure = _mean_of(concepts, name, k)
            if name == LATENTS:
                found.append(figure)
            else:
                controls.setdefault(name, []).append(figure)
    return found, controls


def _mean_of(concepts: Sequence[Concept], name: str, k: int) -> Figure:
    wanted = 0 if name == DENSE else k
    rows = [row for concept in concepts for row in concept.rows if (row.name, row.k) == (name, wanted)]
    values = [row.auroc.value for row in rows if row.auroc.value is not None]
    nulls = [row.auroc.null for row in rows if row.auroc.null is not None]
    words = f"mean over concepts of the AUROC of a probe that reads {k} latents, on words or documents not seen before"
    null = float(np.mean(nulls)) if nulls else None
    return mean_figure(
        f"probes/sparse/auroc_at_{k}", values, words, over="concepts", share=True, null=null, better="higher"
    )
