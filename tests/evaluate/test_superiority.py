"""Two sets of scores against each other: a slow obvious version, analytic values, and how often intervals hold."""

from statistics import NormalDist

import numpy as np
import pytest

from sparselex.base.figures import Figure
from sparselex.evaluate.against import side
from sparselex.evaluate.superiority import (
    LOWEST,
    Documents,
    Sample,
    difference_figure,
    superiority,
    superiority_figure,
)


def slow(one, other) -> float:
    """Every pair looked at."""
    return sum((a > b) + (a == b) / 2 for a in one for b in other) / (len(one) * len(other))


def drawn(rng, n: int, shift: float = 0.0) -> Sample:
    return Sample(rng.normal(shift, 1, n))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_share_of_pairs(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 6, 17).astype(float), rng.integers(2, 9, 40).astype(float)
    one[:3] = other[:5] = LOWEST
    value, higher, lower = superiority(one, other)
    assert value == pytest.approx(slow(one, other)) and lower.mean() == pytest.approx(value)
    assert higher[7] == pytest.approx(slow(one[7:8], other))
    assert superiority(other, one)[0] == pytest.approx(1 - value), "the other way round"


def test_a_shift_gives_its_analytic_value_and_intervals_cover_it():
    shift, rng = 0.8, np.random.default_rng(0)
    expected = NormalDist().cdf(shift / np.sqrt(2))
    figures = [superiority_figure("s", drawn(rng, 60, shift), drawn(rng, 35), "words", None) for _ in range(600)]
    assert np.mean([figure.value for figure in figures]) == pytest.approx(expected, abs=0.01)
    held = np.mean([figure.ci_low <= expected <= figure.ci_high for figure in figures])
    assert 0.93 <= held <= 0.98, held
    assert figures[0].null == 0.5 and figures[0].n == 95


def test_intervals_of_medians_apart_cover():
    rng = np.random.default_rng(1)
    figures = [difference_figure("d", drawn(rng, 60, 0.5), drawn(rng, 40), "words", None) for _ in range(500)]
    held = np.mean([figure.ci_low <= 0.5 <= figure.ci_high for figure in figures])
    assert 0.93 <= held <= 0.99, held


def with_documents(rng, n: int, shared, own: float) -> Sample:
    """Scores that are means over documents: what a document adds to all latents, and to each."""
    scores = shared + own * rng.normal(0, 1, (n, len(shared))) + rng.normal(0, 0.3, (n, 1))
    n_documents = len(shared)
    without = np.stack([np.delete(scores, document, axis=1).mean(1) for document in range(n_documents)])
    return Sample(scores.mean(1), without)


def test_documents_widen_and_what_moves_both_alike_cancels():
    """Scores of both sets move with their documents; where these are the same, hardly anything of that is left."""
    rng, n_documents = np.random.default_rng(2), 60
    held = {True: [], False: []}
    for _ in range(200):
        shared = rng.normal(0, 2, n_documents)
        one, same = with_documents(rng, 50, shared, 0.2), with_documents(rng, 50, shared, 0.2)
        others = with_documents(rng, 50, rng.normal(0, 2, n_documents), 0.2)
        for other, paired in ((same, True), (others, False)):
            held[paired].append(superiority_figure("s", one, other, "words", Documents(n_documents, paired)))
    for paired, figures in held.items():
        assert np.mean([f.ci_low <= 0.5 <= f.ci_high for f in figures]) >= 0.92, paired
        alone = [superiority_figure("s", one, same, "words", None)]
        assert np.median([f.se for f in figures]) >= 0.9 * alone[0].se
    ses = {paired: np.median([figure.se for figure in figures]) for paired, figures in held.items()}
    assert ses[True] < 0.5 * ses[False]


def test_the_jackknife_over_documents_is_that_of_leaving_each_out():
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 1, 50)
    one, other = with_documents(rng, 20, shared, 0.5), with_documents(rng, 30, shared, 0.5)
    found = superiority_figure("s", one, other, "words", Documents(50, True))
    alone = superiority_figure("s", Sample(one.values), Sample(other.values), "words", None)
    left_out = np.array([slow(a, b) for a, b in zip(one.without, other.without, strict=True)])
    expected = alone.se**2 + np.square(left_out - found.value).sum() * 49 / 50
    assert found.se**2 == pytest.approx(expected)
    difference = difference_figure("d", one, other, "words", Documents(50, True))
    assert difference.ci_low < difference.value < difference.ci_high


def test_the_variance_over_latents_is_delongs():
    rng = np.random.default_rng(4)
    one, other = rng.normal(0.3, 1, 12), rng.normal(0, 1, 30)
    found = superiority_figure("s", Sample(one), Sample(other), "words", None)
    above = [slow([a], other) for a in one]
    below = [slow(one, [b]) for b in other]
    assert found.se**2 == pytest.approx(np.var(above, ddof=1) / 12 + np.var(below, ddof=1) / 30)


def test_what_is_wholly_above_has_no_interval_and_a_side():
    one, other = Sample(np.arange(10.0) + 100), Sample(np.arange(50.0))
    found = superiority_figure("s", one, other, "words", None)
    assert (found.value, found.ci_low) == (1, None) and side(found) == "run"
    assert side(superiority_figure("s", other, one, "words", None)) == "control"
    few = superiority_figure("s", Sample(np.array([5.0])), Sample(np.array([1.0, 2.0])), "words", None)
    assert few.value == 1 and side(few) == "neither", "that may well be an accident"


def test_against_itself_it_is_even():
    one = drawn(np.random.default_rng(5), 80)
    found = superiority_figure("s", one, one, "words", None)
    assert found.value == 0.5 and found.ci_low < 0.5 < found.ci_high and side(found) == "neither"
    apart = difference_figure("d", one, one, "words", None)
    assert apart.value == 0 and apart.ci_low < 0 < apart.ci_high


def test_nothing_is_a_failure_and_few_documents_give_no_interval():
    nothing = Sample(np.zeros(0))
    for figure in (superiority_figure, difference_figure):
        found: Figure = figure("s", nothing, Sample(np.ones(3)), "words", None)
        assert found.failure == "no latent of the one, or none of the other, has this score"
    one = drawn(np.random.default_rng(6), 30)
    assert superiority_figure("s", one, one, "words", Documents(12, True)).ci_low is None
