"""Measures of votes against slow ones, and against a judge whose error rates are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from sparselex.base.figures import Failure
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import DEFINITIONS, Counts, Item, Judged, Nulls, judged, question, scores
from sparselex.llm.records import Answer, Capabilities

KINDS = ("active", "silent", "token", "neighbour", "wrong")


def items_of(kinds, strong=None):
    rows = zip(kinds, [False] * len(kinds) if strong is None else strong, strict=True)
    return [Item(n, kind, bool(is_strong), n, 1.0, f"text {n}") for n, (kind, is_strong) in enumerate(rows)]


def slow_auroc(positive, negative):
    won = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    return sum(won) / len(won)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.01, 0.9))
def test_measures_equal_slow_ones(seed, rate):
    rng = np.random.default_rng(seed)
    n = 60
    kinds = ["active", "silent", *rng.choice(KINDS, n - 2)]
    strong = [kind == "active" and rng.random() < 0.5 for kind in kinds]
    said = np.round(rng.random(n), 1)
    said[rng.random(n) < 0.1] = np.nan
    said[:2] = 0.3, 0.7
    items, documents = items_of(kinds, strong), rng.integers(0, 9, n)
    found = {
        s.metric: s for s in scores("j", "llm", Judged(items, said), Nulls(None, None, rng.random(n)), documents, rate)
    }
    of = lambda *which: [s for item, s in zip(items, said, strict=True) if item.kind in which and not np.isnan(s)]
    yes = lambda values: np.mean([s > 0.5 for s in values])
    recall, alarm = yes(of("active")), yes(of("silent"))
    slow = {
        "recall": recall,
        "specificity": 1 - alarm,
        "balanced_accuracy": (recall + 1 - alarm) / 2,
        "auroc": slow_auroc(of("active"), of("silent")),
        "unanswered": np.isnan(said).mean(),
    }
    if recall + alarm:
        slow["precision"] = recall * rate / (recall * rate + alarm * (1 - rate))
    for kind in KINDS[2:]:
        if of(kind):
            slow[f"{kind}_specificity"] = 1 - yes(of(kind))
    for name, is_strong in (("recall_weak", False), ("recall_strong", True)):
        some = [s for item, s in zip(items, said, strict=True) if item.kind == "active" and item.strong == is_strong]
        if some := [s for s in some if not np.isnan(s)]:
            slow[name] = yes(some)
            assert found[name].n == len(some)
    assert {name: score.value for name, score in found.items() if name != "lookup"} == pytest.approx(slow)
    assert found["recall"].n == len(of("active")) and found["unanswered"].n == n
    assert found.keys() <= DEFINITIONS.keys()


def test_swapped_labels_turn_the_auroc_round():
    rng = np.random.default_rng(0)
    kinds, said, documents = ["active"] * 30 + ["silent"] * 30, rng.random(60), np.arange(60) % 12
    swapped = ["silent"] * 30 + ["active"] * 30
    one, other = (
        {
            s.metric: s.value
            for s in scores("j", "x", Judged(items_of(k), said), Nulls(None, None, rng.random(60)), documents, 0.1)
        }
        for k in (kinds, swapped)
    )
    assert one["auroc"] == pytest.approx(1 - other["auroc"]) and one["auroc"] != 0.5
    assert one["balanced_accuracy"] == pytest.approx(1 - other["balanced_accuracy"])


def test_intervals_cover_the_truth_of_a_judge_whose_errors_are_known():
    rng, miss, alarm, covered, n = np.random.default_rng(1), 0.25, 0.1, 0, 400
    items = items_of(["active"] * 50 + ["silent"] * 50)
    for _ in range(n):
        wrong = np.concatenate([rng.random(50) < miss, rng.random(50) < alarm])
        said = np.where(np.arange(100) < 50, ~wrong, wrong).astype(float)
        documents = rng.integers(0, 30, 100)
        (score, *_) = scores("j", "x", Judged(items, said), Nulls(None, None, np.zeros(100)), documents, 0.1)
        covered += score.ci_low <= 1 - (miss + alarm) / 2 <= score.ci_high
    assert 0.92 < covered / n <= 0.99, "a 95 % interval"


def test_documents_that_agree_within_themselves_widen_the_interval():
    rng = np.random.default_rng(2)
    items, wrong = items_of(["active", "silent"] * 50), rng.random(10) < 0.3
    owner = np.arange(100) // 10
    said = np.where(np.arange(100) % 2 == 0, ~wrong[owner], wrong[owner]).astype(float)
    width = lambda documents: next(
        s.ci_high - s.ci_low
        for s in scores("j", "x", Judged(items, said), Nulls(None, None, np.zeros(100)), documents, 0.1)
    )
    assert width(owner) > 2 * width(np.arange(100))


def talked(talk, answer):
    """The end of a talk whose questions are answered by `answer`, and these questions."""
    asked, wanted = [], next(talk)
    while True:
        asked += wanted
        try:
            wanted = talk.send([answer(request) for request in wanted])
        except StopIteration as end:
            return end.value, asked


ASK = question("detection.v1", "detection", {}, AskConfig())


def test_what_was_left_out_is_asked_once_more_and_then_counted():
    items = items_of(["active"] * 7 + ["silent"] * 6)
    asked_before = set()

    def answer(request):  # never says anything of text 3, of text 5 only when asked again, and once falls silent
        texts = [text for text in (f"text {n}" for n in range(13)) if f"\n{text}\n" in request.messages[1].content]
        if "text 12" in texts and "text 12" not in asked_before:
            asked_before.add("text 12")
            return Failure(subject="x", reason="the connection was lost")
        said = {}
        for number, text in enumerate(texts, 1):
            if text == "text 3" or (text == "text 5" and text not in asked_before):
                asked_before.add(text)
                continue
            said[str(number)] = 1
        return Answer(text=str(said).replace("'", '"'))

    (found, why), asked = talked(judged(ASK, "x", items, 5, Capabilities()), answer)
    assert np.flatnonzero(np.isnan(found.said)).tolist() == [3] and "leaves 1 of" in why
    assert [len(request.messages[1].content.split("\ntext ")) - 1 for request in asked] == [5, 5, 3, 2, 2, 1]


@pytest.mark.parametrize("said", ["", "{}", '{"1": "perhaps"}', "[1, 1, 1]", "1 0 1"])
def test_answers_of_no_use_are_failures_and_no_votes(said):
    items = items_of(["active", "silent"])
    (found, why), asked = talked(judged(ASK, "x", items, 10, Capabilities()), lambda _: Answer(text=said))
    assert np.isnan(found.said).all() and len(asked) == 2 and "leaves 2 of 2" in why


def test_counts_without_answers_have_no_measures():
    counts = Counts(Judged(items_of(["active"]), np.array([np.nan])), np.array([0]), 0.1)
    assert counts.n("active") == 0 and not any(
        np.isfinite(v) for v in counts.measures(counts.per_document.sum(0)).values()
    )


def test_what_lies_far_out_is_still_told_apart():
    gains = np.array([90.0, 60.0, 30.0, -30.0, 50.0, 45.0, -60.0, -90.0])
    kinds = ("active",) * 4 + ("silent",) * 4
    found = Judged(items_of(kinds), expit(gains), absolute=False, log_odds=gains)
    made = scores("j", "llm", found.settled(), Nulls(None, None, gains), np.arange(8), 0.5)
    by_metric = {score.metric: score.value for score in made}
    assert by_metric["auroc"] == slow_auroc(gains[:4], gains[4:]) == by_metric["lookup"]
    assert by_metric["recall"] == 0.5 and by_metric["specificity"] == 0.5, "as many above the half as are active"
    parts = Judged([], np.empty(0)).then(found._replace(items=found.items[:3], said=found.said[:3], log_odds=gains[:3]))
    whole = parts.then(found._replace(items=found.items[3:], said=found.said[3:], log_odds=gains[3:]))
    assert (whole.order == gains).all() and (whole.settled().said == found.settled().said).all()
