"""Explanations held against activations of every size: what is sampled, by hand, and planted rules."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.intervals import LEAST_DOCUMENTS, even_groups
from sparselex.base.seeds import generator
from sparselex.evaluate.intervals.config import IntervalsConfig
from sparselex.evaluate.intervals.figures import figures_of
from sparselex.evaluate.intervals.records import FILE, IntervalAnswers
from sparselex.evaluate.intervals.sampling import consistent, interval_of, mixture, sampled, spearman, windows
from sparselex.evaluate.intervals.walk import population, sample_intervals
from sparselex.evaluate.ruled import Ruled
from sparselex.explain.keys import KeyTable
from sparselex.explain.rules import Rule
from tests.support.followed import N_LATENTS, Followed
from tests.support.planted import N_CTX

CONFIG = IntervalsConfig(n_intervals=4, n_sampled=5, least_active=5)


@pytest.fixture(scope="module")
def index():
    return Followed()


def ruled(index, *, turned=0):
    """Rules that predict what is there, or what is on the token of a latent `turned` places on."""
    rules = {latent: Rule("token", {(latent + turned) % N_LATENTS: 1.5}) for latent in range(N_LATENTS)}
    return Ruled("main", "", index, rules)


def test_intervals_by_hand():
    values = np.array([0.01, 0.25, 0.26, 0.5, 0.75, 0.76, 1.0])
    assert interval_of(values, 4).tolist() == [0, 0, 1, 1, 2, 3, 3]
    assert interval_of(8 * values, 4).tolist() == [0, 0, 1, 1, 2, 3, 3], "they are shares of the largest"


def test_examples_are_drawn_evenly_from_intervals():
    values = np.concatenate([np.full(1000, 0.1), np.full(3, 0.6), [1.0]])
    drawn = sampled(values, 4, 5, np.random.default_rng(0))
    assert np.bincount(drawn.interval, minlength=4).tolist() == [5, 0, 3, 1]
    assert len(set(drawn.places.tolist())) == 9 and (interval_of(values, 4)[drawn.places] == drawn.interval).all()
    shares = drawn.shares(values[drawn.places] > 0.5, 4)
    assert shares[[0, 2, 3]].tolist() == [0, 1, 1] and np.isnan(shares[1])
    counts = np.zeros(1000)
    for seed in range(400):  # each of an interval by the same chance
        places = sampled(values, 4, 5, np.random.default_rng(seed)).places
        counts[places[places < 1000]] += 1
    assert counts.sum() == 2000 and counts.max() < 12


def test_rank_correlation_by_hand():
    # Ranks of the one 1 2 3 4, of the other 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    assert spearman(np.array([1.0, 2.0, 5.0, 9.0]), np.array([0.1, 0.3, 0.2, 4.0])) == pytest.approx(0.8)
    assert spearman(np.full(5, 3.0), np.arange(5.0)) == 0, "who always says the same says nothing"
    assert spearman(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    ties = rng.integers(0, 3, (2, 50)).astype(float)
    assert spearman(*ties) == pytest.approx(spearmanr(*ties).statistic)


@pytest.mark.parametrize(
    ("shares", "whole", "top_only"),
    [
        ([0.6, 0.5, 0.9, 1.0, 1.0], True, False),
        ([0.1, 0.5, 0.9, 1.0, 1.0], False, True),
        ([0.1, 0.5, 0.4, 1.0, 1.0], False, False),
        ([np.nan, 0.5, np.nan, 1.0, 1.0], True, False),
        ([np.nan, 0.1, np.nan, 1.0, 1.0], False, True),
        ([np.nan] * 5, False, False),
    ],
)
def test_consistent_by_hand(shares, whole, top_only):
    found = consistent(np.array(shares), ~np.isnan(shares), 0.5, 0.6)
    assert (found.whole, found.top_only) == (whole, top_only)


def test_the_mixture_has_examples_of_every_kind(index):
    table, column = KeyTable(index.counted_tokens("test")), index.counted_column(0, "test")
    ranks = mixture(column, table, N_CTX, np.random.default_rng(0))
    top, rest = ranks[:6], ranks[6:]
    rows = table.counted.positions[top] // N_CTX
    assert len(set(rows.tolist())) == 6 and np.isin(top, column.ranks).all()
    largest = column.values[np.searchsorted(column.ranks, top)]
    assert (np.diff(largest) < 0).all() and largest[0] == column.values.max()
    assert not set(top.tolist()) & set(rest[:-10].tolist())
    assert len(ranks) <= 60
    alone = ranks[-min(20, len(column.ranks) - 6) :]
    assert (table.counted.tokens[alone] == 0).all(), "the same token elsewhere"


def test_windows_stay_in_their_row(index):
    tokens = index.counted_tokens("test")
    assert windows(np.array([0]), tokens, N_CTX).tolist() == [0, 1, 2, 3, 4]
    assert windows(np.array([N_CTX - 1]), tokens, N_CTX).tolist() == [11, 12, 13, 14, 15]
    assert windows(np.array([N_CTX + 6]), tokens, N_CTX).tolist() == list(range(N_CTX + 2, N_CTX + 11))


def test_a_rule_that_holds_is_consistent_and_another_is_not(index):
    found, answers, seen = population(ruled(index), CONFIG)
    assert answers.own.whole.all() and answers.own.spearman.min() > 0.8
    assert not answers.null.whole.any() and answers.null.spearman.max() < 0.1
    assert [point.median for point in found.curve if point.n_latents] == [1.0, 1.0]
    assert [point.n_latents for point in found.curve] == [0, 0, N_LATENTS, N_LATENTS], "activations begin at 1 of 2"
    assert all(one.single_token for one in seen) and found.n_single == N_LATENTS
    assert all(one.shares[0] is None and one.shares[3] == 1.0 and one.null[3] == 0.0 for one in seen)
    _, turned, _ = population(ruled(index, turned=1), CONFIG)
    assert not turned.own.whole.any() and turned.own.spearman.max() < 0.1


def test_without_some_documents_it_is_as_if_they_were_not_there(index):
    """One latent's rule predicts another one's tokens half of the time: what is left without each group, by hand."""
    own = ruled(index)
    own.rules[0] = Rule("token", {0: 1.0, 1: 2.0})
    _, answers, _ = population(own, CONFIG)
    table, column = KeyTable(index.counted_tokens("test")), index.counted_column(0, "test")
    rng = generator(CONFIG.seed, "intervals", 0)
    drawn = sampled(column.values, 4, 5, rng)
    mixed = windows(mixture(column, table, N_CTX, rng), table.counted, N_CTX)
    true, called = np.zeros(table.n), table.called(own.rules[0])
    true[column.ranks] = column.values
    said = np.zeros(table.n)
    said[called.ranks] = called.values
    document = np.unique(table.counted.documents, return_inverse=True)[1]
    groups = even_groups(np.bincount(document), 20)[document]
    assert len(answers.without) == groups.max() + 1 > 2
    for group, left in enumerate(answers.without):
        there = mixed[groups[mixed] != group]
        assert left.spearman[0] == pytest.approx(spearmanr(said[there], true[there]).statistic)
        places = column.ranks[drawn.places]
        for interval in range(4):
            some = places[(drawn.interval == interval) & (groups[places] != group)]
            enough = (drawn.interval == interval).sum() >= CONFIG.least_sampled and len(some)
            expected = (said[some] > 0).mean() if enough else np.nan
            np.testing.assert_equal(left.shares[0, interval], expected)
    assert len({one.spearman[0] for one in answers.without}) > 2
    median = next(one for one in figures_of(answers, {}) if one.name == "intervals/spearman_median")
    assert answers.n_documents == groups.max() + 1 < LEAST_DOCUMENTS
    assert median.ci_low is None and "no interval, with documents that count as" in median.definition
    many = next(one for one in figures_of(answers._replace(n_documents=50.0), {}) if one.name == median.name)
    assert "groups of documents" in many.definition


def test_a_long_document_gives_no_more_than_twice_its_even_share():
    index = Followed()
    test = index.corpus.row_ranges["test"]
    index.corpus.documents[test.start : test.stop - 4] = 1000  # sixteen of twenty rows, and two documents of two
    _, answers, _ = population(ruled(index), CONFIG)
    assert answers.n_tokens == 12 * N_CTX, (
        "eight rows of the long one, twice an even share of twelve, and two of either"
    )
    assert answers.n_documents == pytest.approx(12**2 / (8**2 + 2 * 2**2)), "20**2 / (16**2 + 2 * 2**2) of all tokens"


def test_rare_latents_are_left_out(index):
    most = int(np.median([len(index.counted_column(latent, "test").ranks) for latent in range(N_LATENTS)]))
    found, *_ = population(ruled(index), CONFIG.model_copy(update={"least_active": most}))
    assert found.n_looked + found.n_rare == N_LATENTS and 0 < found.n_rare < N_LATENTS
    with pytest.raises(UserError, match="is active on 10000 test tokens"):
        population(ruled(index), CONFIG.model_copy(update={"least_active": 10_000}))


def test_the_artifact_has_the_controls_beside(index, tmp_path):
    own = ruled(index)
    twin = ruled(index, turned=1)._replace(run="twin", words="random weights")
    few = own._replace(run="few", rules={})
    sample_intervals(own, {"twin": lambda: twin, "few": lambda: few}, CONFIG, tmp_path / "intervals", {})
    found = record_of(IntervalAnswers, tmp_path / "intervals", FILE)
    assert [one.run for one in found.populations] == ["main", "twin"] and found.missing.keys() == {"few"}
    figures = {one.name: one for one in Figures.read(tmp_path / "intervals").figures}
    assert figures["intervals/whole_range"].value == 1 and figures["intervals/whole_range"].controls == {"twin": 0}
    assert figures["intervals/spearman_median_of_more_tokens"].failure, "all are of single tokens"
    assert figures["intervals/consistency_lowest"].failure, "none is weakly active"
