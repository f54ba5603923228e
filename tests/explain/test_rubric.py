"""The human rubric: scores are bounded, what follows from them is as by hand, questions are blind and repeatable."""

import csv
import io

import numpy as np
import pytest
from pydantic import ValidationError

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.intervals import median_interval
from sparselex.explain.ratings.files import answers_from, to_text
from sparselex.explain.rubric.question import LEAST, N_RAISED, N_WINDOWS, WINDOW, AskingIntervals, Subject, intervals_of
from sparselex.explain.rubric.records import MOST, N_INTERVALS, RubricAnswer, RubricScores
from sparselex.explain.rubric.store import FIELDS, RubricStore
from sparselex.explain.rubric.summary import kinds_of, summarise_rubric
from sparselex.features.counted import Column

BEST = {"confidence": 3, "activation": 5, "logits": 3, "separation": None, "specificity": 3}
NEXT = {"confidence": 3, "activation": 5, "logits": 2, "separation": 1, "specificity": 3}


def answer(number, scores=NEXT, kind="features", latent=0):
    return RubricAnswer(
        **scores,
        id=f"{number:016x}",
        index="i",
        kind=kind,
        of=f"index of {kind}",
        latent=latent,
        interval=4,
        positions="[3, 70]",
        interpretation='a word, "quoted"\nand é',
        seconds=2.5,
        rater="Ada",
        written=f"2026-01-01T00:00:{number % 60:02d}+00:00",
    )


def test_there_are_fourteen_points_either_way():
    assert RubricScores(**BEST).total == RubricScores(**NEXT).total == MOST == 14
    assert RubricScores(**{**NEXT, "logits": 0, "separation": 0}).total == 11


@pytest.mark.parametrize("name, most", [("confidence", 3), ("activation", 5), ("logits", 3), ("specificity", 3)])
def test_scores_are_bounded(name, most):
    for value in (-1, most + 1, None, 1.5):
        with pytest.raises(ValidationError):
            RubricScores(**{**NEXT, name: value})
    with pytest.raises(ValidationError):
        RubricScores(**{**NEXT, "separation": 2})


def test_separation_is_a_question_exactly_where_something_is_inconsistent():
    for wrong in ({**BEST, "separation": 0}, {**BEST, "separation": 1}, {**NEXT, "separation": None}):
        with pytest.raises(ValidationError, match="separation"):
            RubricScores(**wrong)


def test_the_summary_is_that_by_hand(tmp_path):
    low = {"confidence": 0, "activation": 0, "logits": 0, "separation": 0, "specificity": 0}
    answers = [answer(n, BEST if n % 2 else {**NEXT, "activation": 1}, latent=n // 2) for n in range(12)]
    answers += [answer(20 + n, low if n < 7 else NEXT, "neurons") for n in range(9)]
    features, neurons = kinds_of(answers)
    assert (features.kind, features.n_latents, neurons.kind, neurons.n_latents) == ("features", 6, "neurons", 1)
    totals = np.array([14.0 if n % 2 else 10.0 for n in range(12)])
    known = median_interval(totals)
    assert (features.points.value, features.points.ci_low, features.points.ci_high) == (12, known.low, known.high)
    assert features.points.n == 12 and neurons.points.value == 0 and neurons.points.n == 9
    assert features.points.controls == {"neurons": 0} and neurons.points.controls == {}
    assert features.good.value == 1 and neurons.good.value == pytest.approx(2 / 9)
    assert features.means["activation"] == 3 and features.means["separation"] == 1, "of those six in which it was asked"
    store = RubricStore(tmp_path / "w.sqlite")
    assert summarise_rubric("i", tmp_path / "w.sqlite", tmp_path / "rubric") == []
    assert store.add(answers) == 21
    assert summarise_rubric("i", tmp_path / "w.sqlite", tmp_path / "rubric") == kinds_of(store.all("i"))
    names = [figure.name for figure in Figures.read(tmp_path / "rubric").figures]
    kinds = ("features", "neurons")
    assert names == [f"rubric/{kind}/{figure}" for kind in kinds for figure in ("points", "above_8")]


def test_an_answer_twice_is_one_and_files_travel(tmp_path):
    answers = [answer(0), answer(1, BEST, "twins"), answer(2, kind="frozen_decoder", latent=7)]
    store = RubricStore(tmp_path / "w.sqlite")
    assert store.count("i") == 0 and store.all("i") == []
    assert (store.add(answers), store.add([answer(0, BEST)]), store.count("i")) == (3, 0, 3)
    assert store.all("i") == answers and store.all("another") == []
    for kind in (".csv", ".json"):
        (tmp_path / f"r{kind}").write_text(to_text(answers, kind, FIELDS), encoding="utf-8")
        assert answers_from(tmp_path / f"r{kind}", RubricAnswer) == answers
    for said in ('=HYPERLINK("x")', "-1", "'=1", "''+", "@a", "'quoted'", "plain = x"):  # no formula, and none is lost
        one = answer(3).model_copy(update={"interpretation": said})
        (tmp_path / "f.csv").write_text(text := to_text([one], ".csv", FIELDS), encoding="utf-8")
        assert answers_from(tmp_path / "f.csv", RubricAnswer) == [one]
        assert not any(cell[:1] in "=+-@" for row in csv.reader(io.StringIO(text)) for cell in row if cell)
    (tmp_path / "s.csv").write_text(to_text(answers, ".csv", FIELDS).replace("3,5,2,1,3", "3,6,2,1,3"))
    with pytest.raises(UserError, match="row 1"):
        answers_from(tmp_path / "s.csv", RubricAnswer)


def test_intervals_are_equal_parts_from_zero_to_the_largest():
    column = Column(np.arange(5), np.array([11.0, 10.0, 10.1, 0.01, 1.0]))
    assert intervals_of(column).tolist() == [10, 9, 10, 0, 0]
    assert intervals_of(Column(np.arange(0), np.zeros(0))).tolist() == []


def test_questions_are_of_one_interval_of_held_out_text(small_index):
    asking = AskingIntervals(small_index.id, [Subject("features", small_index), Subject("neurons", small_index)])
    found = [asking.of(f"{number:016x}") for number in range(120)]
    assert AskingIntervals(small_index.id, asking._subjects).of("0" * 16) == found[0]
    assert 0.35 < np.mean([one.kind == "features" for one in found]) < 0.65
    assert len({one.interval for one in found}) > 4
    rows, n_ctx = small_index.corpus.row_ranges["test"], small_index.corpus.n_ctx
    for one in found[:40]:
        assert LEAST <= len(one.windows) == len(one.positions) <= N_WINDOWS and len(one.raised) == N_RAISED
        assert one.raised[0].share == 1 and all(a.share >= b.share for a, b in zip(one.raised, one.raised[1:]))
        assert all(position // n_ctx in rows for position in one.positions)
        positions, values = small_index.split_column(one.latent, "test")
        inside = np.ceil(np.abs(values.astype(float)) / np.abs(values).max() * N_INTERVALS) - 1 == one.interval
        for start, window in zip(one.positions, one.windows, strict=True):
            here = inside & (positions >= start) & (positions < start + WINDOW)
            assert here.any() and any(part.marked for part in window)
