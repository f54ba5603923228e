"""Judging that stops early: its intervals hold the truth as often as they say, and it costs less."""

import numpy as np
import pytest

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Judged, Nulls, scores
from sparselex.explain.asking.looks import Looks, is_decided

KINDS = ["active"] * 50 + ["silent"] * 50


def items_of(kinds):
    return [Item(n, kind, False, n, 0.0, "") for n, kind in enumerate(kinds)]


def judged_until_decided(config, right, rng):
    """Windows judged, and the score at the end, of a judge that is right in this share of all windows."""
    items, documents = items_of(KINDS), rng.integers(0, 40, len(KINDS))
    correct = rng.random(len(KINDS)) < right
    votes = np.where(np.array(KINDS) == "active", correct, ~correct).astype(float)
    looks, seen = Looks.of(items, config.looks), np.empty(0, dtype=np.int64)
    for part in looks.parts:
        seen = np.concatenate([seen, part])
        found = Judged([items[place] for place in seen.tolist()], votes[seen])
        if is_decided(found, documents[seen], config, looks.level):
            break
    level = looks.level if config.looks > 1 else 0.95
    made = scores("j", "x", found, Nulls(None, None, np.zeros(len(seen))), documents[seen], 0.1, level=level)
    return len(seen), next(score for score in made if score.metric == "balanced_accuracy")


@pytest.mark.parametrize(("right", "until_better"), [(0.9, False), (0.75, False), (0.75, True), (0.5, True)])
def test_intervals_hold_the_truth_whenever_it_was_stopped(right, until_better):
    rng, config = np.random.default_rng(0), AskConfig(looks=5, close=0.12, until_better=until_better)
    covered, n_windows = [], []
    for _ in range(300):
        n, score = judged_until_decided(config, right, rng)
        n_windows.append(n)
        if score.ci_low is not None:
            covered.append(score.ci_low <= right <= score.ci_high)
    assert np.mean(covered) >= 0.93, "at least 95 of 100, as far as 300 tries tell"
    if until_better and right > 0.5:
        assert np.mean(n_windows) < 60, "what is clear is clear early"
    if right == 0.5:
        assert np.mean([n < 100 for n in n_windows]) < 0.5, "a judge at chance is not taken for a better one"


def test_parts_hold_every_window_once_and_every_kind():
    items = items_of(["active"] * 7 + ["silent"] * 9 + ["token"] * 2)
    looks = Looks.of(items, 3)
    assert sorted(np.concatenate(looks.parts).tolist()) == list(range(18))
    for part in looks.parts:
        kinds = [items[place].kind for place in part.tolist()]
        assert {"active", "silent"} <= set(kinds)
    assert looks.level == pytest.approx(1 - 0.05 / 3)
    assert [part.tolist() for part in Looks.of(items, 1).parts] == [list(range(18))]
