"""People's ratings: rates are what a rater of known bias gives, questions are blind and repeatable, files travel."""

import json

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.base.intervals import share_interval
from sparselex.explain.ratings.files import from_file, to_text
from sparselex.explain.ratings.question import MARKED, N_WINDOWS, WINDOW, Asking
from sparselex.explain.ratings.records import DEFINITIONS, Rating, pooled, print_of, scores
from sparselex.explain.ratings.store import RatingStore
from sparselex.explain.ratings.summary import summarise
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore


def said(latent, explainer="llm", text=None):
    text = text or f"{explainer} of {latent}"
    return Explanation(latent=latent, explainer=explainer, status="explained", text=text, title="t")


def rating(number, first, second, choice, latent=0):
    sides = {"a": first, "b": second}
    about = {f"{side}_{name}": value for side, one in sides.items() for name, value in _of(one).items()}
    return Rating(
        id=f"{number:016x}",
        index="i",
        latent=latent,
        **about,
        positions="[3, 70]",
        choice=choice,
        seconds=2.5,
        rater='Ada, "the first"\nof all',
        written=f"2026-01-01T00:00:{number % 60:02d}+00:00",
    )


def _of(one):
    return {"explainer": one.explainer, "latent": one.latent, "text": print_of(one)}


def biased(rng, own, null, n, p):
    """Ratings of a rater who chooses the latent's own text with chance p, else the other's."""
    found = []
    for number in range(n):
        own_first, right = rng.random() < 0.5, rng.random() < p
        pair = (own, null) if own_first else (null, own)
        found.append(rating(number, *pair, "A" if right == own_first else "B", own.latent))
    return found


def by_metric(found):
    return {one.metric: one for one in found}


def test_each_choice_counts_as_it_is_defined():
    own, null, other = said(0), said(5), said(0, "rule")
    ratings = [
        rating(1, own, null, "A"),
        rating(2, null, own, "A"),
        rating(3, null, own, "both"),
        rating(4, own, null, "neither"),
        rating(5, null, own, "B"),
        rating(6, own, other, "B"),
        rating(7, other, own, "B"),
        rating(8, own, other, "A"),
    ]
    found = by_metric(scores(own, ratings))
    assert found.keys() == DEFINITIONS.keys()
    assert (found["win_rate"].value, found["win_rate"].n, found["win_rate"].null) == (3 / 5, 5, 0.5)
    assert (found["fits"].value, found["fits"].null) == (3 / 5, 2 / 5)
    assert (found["beats_explainers"].value, found["beats_explainers"].n) == (pytest.approx(2 / 3), 3)
    wilson = share_interval(3, 5)
    assert (found["win_rate"].ci_low, found["win_rate"].ci_high) == (wilson.low, wilson.high)
    assert by_metric(scores(other, ratings))["beats_explainers"].value == pytest.approx(1 / 3)
    assert scores(null, ratings) == [], "of the latent whose text served as the null nothing is said"
    assert scores(said(0, text="other words"), ratings) == [], "ratings are of words"


@pytest.mark.parametrize("p", [0.5, 0.7, 0.9])
def test_the_interval_covers_the_bias_of_a_rater_as_often_as_it_says(p):
    own, null = said(0), said(5)
    covered = []
    for seed in range(300):
        found = by_metric(scores(own, biased(np.random.default_rng(seed), own, null, 40, p)))["win_rate"]
        covered.append(found.ci_low <= p <= found.ci_high)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_over_all_ratings_the_rate_is_that_of_the_rater():
    rng, explanations = np.random.default_rng(0), [said(latent) for latent in range(60)]
    ratings = [one for own in explanations for one in biased(rng, own, said(99), 5, 0.8)]
    figure = pooled("llm", explanations, ratings)[0]
    slow = np.mean([one.points(0 if one.a_latent == one.latent else 1) for one in ratings])
    assert figure.value == pytest.approx(slow) and figure.n == 300 and figure.null == 0.5
    assert figure.ci_low < 0.8 < figure.ci_high and figure.ci_low > 0.7


def test_a_rating_twice_is_one_and_files_travel(tmp_path):
    own, null = said(0), said(5)
    ratings = [rating(number, own, null, choice) for number, choice in enumerate(("A", "B", "both", "neither"))]
    store = RatingStore(tmp_path / "w.sqlite")
    assert store.count("i") == 0 and store.all("i") == []
    assert (store.add(ratings), store.add(ratings), store.count("i")) == (4, 0, 4)
    for kind in (".csv", ".json"):
        (tmp_path / f"r{kind}").write_text(to_text(store.all("i"), kind), encoding="utf-8")
        assert from_file(tmp_path / f"r{kind}") == store.all("i") == ratings
    (tmp_path / "r.json").write_text(json.dumps([ratings[0].to_json() | {"choice": "C"}]))
    (tmp_path / "s.csv").write_text(to_text(ratings, ".csv").replace(",0,", ",zero,", 1))
    for name in ("r.json", "s.csv", "nothing.csv", "r.txt"):
        with pytest.raises(UserError):
            from_file(tmp_path / name)


@pytest.fixture
def database(small_index, tmp_path):
    path = tmp_path / "w.sqlite"
    store = ExplanationStore(path)
    store.add(small_index.id, "c", [said(n, who) for n in range(40) for who in ("llm", "rule")])
    store.add(
        small_index.id, "c", [Explanation(latent=3, explainer="llm", status="failed", text="no answer", title="")]
    )
    return path


def test_questions_are_of_held_out_windows_in_a_drawn_order(small_index, database):
    asking = Asking(small_index, ExplanationStore(database))
    found = [asking.of(f"{number:016x}") for number in range(200)]
    again = Asking(small_index, ExplanationStore(database)).of("0" * 16)
    assert again == found[0] and again.shown == found[0].shown
    assert not any("no answer" in text for one in found for text in one.texts)
    null = [one for one in found if one.a.latent != one.b.latent]
    assert 0.35 < len(null) / 200 < 0.65 and all(one.a.explainer == one.b.explainer for one in null)
    assert 0.4 < np.mean([one.a.latent == one.latent for one in null]) < 0.6
    assert all({one.a.explainer, one.b.explainer} == {"llm", "rule"} for one in found if one not in null)
    test_rows = small_index.corpus.row_ranges["test"]
    for one in found[:30]:
        assert 1 <= len(one.windows) <= N_WINDOWS == 6 and len(one.positions) == len(one.windows)
        assert all(position // small_index.corpus.n_ctx in test_rows for position in one.positions)
        positions, values = small_index.column(one.latent)
        for start, window in zip(one.positions, one.windows, strict=True):
            inside = (positions >= start) & (positions < start + WINDOW)
            assert inside.any() and any(part.marked for part in window)
            assert (np.abs(values[inside]) >= MARKED * np.abs(values[inside]).max()).any()


def test_without_two_explanations_there_is_no_question(small_index, tmp_path):
    store = ExplanationStore(tmp_path / "w.sqlite")
    assert Asking(small_index, store).of("0" * 16) is None
    store.add(small_index.id, "c", [said(3)])
    assert Asking(small_index, store).of("0" * 16) is None
    store.add(small_index.id, "c", [said(n, text="stock phrase") for n in range(40)])
    assert Asking(small_index, store).of("0" * 16) is None, "one text for both is no question"


def test_figures_are_those_of_any_scorer(small_index, database, tmp_path):
    store, latent = RatingStore(database), 7
    assert summarise(small_index.id, database, tmp_path / "ratings") is None
    own, null = said(latent), said(9)
    ratings = [
        one.model_copy(update={"index": small_index.id}) for one in biased(np.random.default_rng(0), own, null, 20, 0.9)
    ]
    store.add(ratings)
    found = {one.name: one for one in summarise(small_index.id, database, tmp_path / "ratings").figures}
    score = ExplanationStore(database).scores(small_index.id, latent=latent, explainer="llm")
    assert [one.metric for one in score] == ["win_rate", "fits"] and {one.scorer for one in score} == {"people"}
    assert found["explain/llm/people/win_rate"].value == score[0].value
    assert found["explain/llm/people/win_rate_of_all"].value == pytest.approx(score[0].value)
    assert found["explain/llm/people/win_rate"].null == 0.5 and "explain/rule/people/win_rate" not in found
    assert ExplanationStore(database).definitions()["people"] == DEFINITIONS
    ExplanationStore(database).add(small_index.id, "c", [said(latent, text="other words")])
    again = summarise(small_index.id, database, tmp_path / "ratings")
    assert again.figures == [], "what was rated is not said any more"
