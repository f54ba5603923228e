"""Explanations held against logit weights: planted latents, their nulls, and what is reckoned by hand."""

import numpy as np
import pytest
import torch

from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.evaluate.logits.answering import NextTokens, accuracy
from sparselex.evaluate.logits.config import LogitsConfig
from sparselex.evaluate.logits.figures import Answers, figures_of
from sparselex.evaluate.logits.modes import tails
from sparselex.evaluate.logits.records import FILE, LogitAnswers
from sparselex.evaluate.logits.walk import Looked, answer_logits, population
from sparselex.evaluate.ruled import Ruled, another_of
from sparselex.explain.raised import asked_about
from sparselex.explain.rules import Rule
from sparselex.features.counted import CountedTokens
from sparselex.features.stream import Written
from tests.support.followed import GROUP, N_LATENTS, N_VOCAB, Followed

CONFIG = LogitsConfig(first=0, n_each=GROUP, least_count=1, n_kinds=8, n_even=200)


@pytest.fixture(scope="module")
def index():
    return Followed()


def looked(index, weights, *, turned=0):
    """The planted latents; the rule of each is on its own token, or on that of a latent `turned` places on."""
    rules = {latent: Rule("token", {(latent + turned) % N_LATENTS: 1.0}) for latent in range(N_LATENTS)}
    rows = torch.from_numpy(weights.astype(np.float32))
    return Looked(Ruled("main", "", index, rules), Written(rows, None, torch.eye(N_VOCAB)))


def test_a_rule_that_what_is_raised_follows_tells_it(index):
    found, answers, seen = population(looked(index, index.raises), CONFIG)
    assert answers.accuracy.min() > 0.95 and answers.ceiling.min() > 0.95 and answers.even.min() > 0.9
    assert abs(answers.null.mean() - 0.5) < 0.1, "another latent's rule tells nothing of these tokens"
    assert found.n_asked == N_LATENTS and sum(found.counts) == sum(found.null_counts) == N_LATENTS
    for one in seen:
        group = set(index.group(one.latent))
        assert set(one.hits) <= group and not set(one.alarms) & group and one.another != one.latent
        assert one.n_places == int((index.corpus.tokens[:80] == one.latent).sum())


def test_the_rule_of_another_latent_or_other_weights_are_chance(index):
    _, turned, _ = population(looked(index, index.raises, turned=1), CONFIG)
    assert abs(turned.accuracy.mean() - 0.5) < 0.1
    drawn = np.random.default_rng(0)
    by_chance = [population(looked(index, drawn.permuted(index.raises, axis=1)), CONFIG)[1] for _ in range(20)]
    for name in ("accuracy", "ceiling"):
        assert abs(np.mean([getattr(one, name) for one in by_chance]) - 0.5) < 0.025, "within three standard errors"


def test_kinds_tell_of_tokens_that_were_not_seen_there(index):
    """A latent on few places is followed by some of its group: that the others are of the kind is known from
    elsewhere."""
    counted = CountedTokens(index.corpus, index.counted, "train")
    group, others = index.group(0), index.group(1)
    ranks = np.flatnonzero(counted.tokens == 0)[:3]
    asked = np.concatenate([group, others])
    by_kind = NextTokens(counted, 1.0, 8).scores(ranks, asked)
    alone = NextTokens(counted, 1.0, 0).scores(ranks, asked)
    raised = np.arange(2 * GROUP) < GROUP
    assert accuracy(by_kind, raised) == 1.0 > accuracy(alone, raised) > 0.5


def test_what_follows_is_counted_by_hand():
    index = Followed()
    tokens = index.corpus.tokens.copy()
    counted = CountedTokens(index.corpus, index.counted, "train")
    following = NextTokens(counted, 1.0, 0)
    times = np.zeros(N_VOCAB, dtype=int)
    for row in range(80):  # two rows are a document, and no row is followed by the next
        for column in range(tokens.shape[1] - 1):
            times[tokens[row, column + 1]] += tokens[row, column] == 3
    assert following.after(np.flatnonzero(counted.tokens == 3)).tolist() == times.tolist()
    assert following.shares.sum() == pytest.approx(1)
    ratio = np.log((times + 1) / (times.sum() * following.shares + 1))
    scores = following.scores(np.flatnonzero(counted.tokens == 3), np.arange(N_VOCAB))
    assert scores == pytest.approx((ratio - ratio.mean()) / ratio.std())


def test_accuracy_by_hand():
    raised = np.array([True, True, False, False])
    assert accuracy(np.array([4.0, 3.0, 2.0, 1.0]), raised) == 1.0
    assert accuracy(np.array([1.0, 2.0, 3.0, 4.0]), raised) == 0.0
    assert accuracy(np.zeros(4), raised) == 0.5, "who says nothing is at chance"
    # One is said raised for sure, one of three at the border: a third of the time it is the raised one.
    assert accuracy(np.array([4.0, 1.0, 1.0, 1.0]), raised) == pytest.approx((1 + 1 / 3 + 1 + 1 / 3) / 4)


def test_tokens_that_are_asked_about():
    weights, rng = np.arange(100.0), np.random.default_rng(0)
    asked = asked_about(weights, np.arange(50, 100), 3, 5, rng)
    assert asked.tokens[:5].tolist() == [96, 95, 94, 93, 92] and asked.raised.tolist() == [True] * 5 + [False] * 5
    assert len(set(asked.tokens.tolist())) == 10 and asked.tokens[5:].max() < 92 and asked.tokens.min() >= 50
    with pytest.raises(UserError, match="12 tokens stand in the text"):
        asked_about(weights, np.arange(12), 3, 5, rng)


def test_a_second_mode_is_a_gap_with_several_tokens_behind_it():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 1000))
    weights[1, :20] += 15.0  # a mode of its own
    weights[2, :2] += 15.0  # two tokens are none
    found = tails(weights)
    assert found.n_right[1] == 20 and found.gap[1] > 5 > 1 > found.gap[0]
    assert found.gap[2] < 1 and found.above[1] == pytest.approx(0.02)


def test_figures_beside_nulls_and_controls():
    rng = np.random.default_rng(0)

    def answers(level, n=40):
        flags = np.arange(n) % 4 == 0
        spread = lambda middle: (middle + rng.normal(0, 0.01, n)).clip(0, 1)
        return Answers(
            accuracy=spread(level),
            null=spread(0.5),
            even=spread(level),
            ceiling=spread(0.9),
            single=flags,
            above=spread(0.01),
            above_null=spread(0.0),
            second=flags,
        )

    own, twin = answers(0.8), answers(0.5)._replace(single=np.zeros(40, dtype=bool))
    found = {one.name: one for one in figures_of(own, {"twin": twin})}
    median = found["logits/accuracy_median"]
    assert median.value == np.median(own.accuracy) and median.null == np.median(own.null)
    assert median.controls == {"twin": np.median(twin.accuracy)}
    single = found["logits/accuracy_median_single_token"]
    assert single.n == 10 and single.controls == {}, "the twin has no latent of a single token"
    assert found["logits/accuracy_mean_of_more_tokens"].n == 30
    assert found["logits/clear_share"].value == 1 and found["logits/clear_share"].null == 0


def test_the_artifact_notes_a_control_that_cannot_be_measured(index, tmp_path):
    own = looked(index, index.raises)
    few = own._replace(ruled=own.ruled._replace(run="few", rules={0: own.ruled.rules[0]}))
    twin = own._replace(ruled=own.ruled._replace(run="twin", words="random weights"))
    answer_logits(own, {"twin": lambda: twin, "few": lambda: few}, CONFIG, tmp_path / "logits", {})
    found = record_of(LogitAnswers, tmp_path / "logits", FILE)
    assert [one.run for one in found.populations] == ["main", "twin"]
    assert "1 latents of run 'few' have a rule" in found.missing["few"]
    assert Figures.read(tmp_path / "logits").figures == found.figures
    assert [one.latent for one in found.latents] == list(range(N_LATENTS))


def test_another_latent_is_never_its_own():
    found = another_of(np.array([3, 5, 9, 11]), 0)
    assert found.keys() == set(found.values()) == {3, 5, 9, 11} and all(a != b for a, b in found.items())
