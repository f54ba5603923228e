"""The walk before a scripted model: what is planted is found, errors are those of the judge, and nothing is asked
twice."""

import json
import sqlite3

import numpy as np
import pytest

from sparselex.base import database
from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.explain.asking import ask as module
from sparselex.explain.asking.ask import ask, chosen
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.asking.summary import AskSummary
from sparselex.explain.store import ExplanationStore
from sparselex.llm.records import Answer
from tests.support.judge import ScriptedModel, passages
from tests.support.planted import with_neighbours

SMALL = AskConfig(window=8, active=20, silent=12, hard=6, per_request=4, null_share=1.0, check=0)


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture
def walk(index, tmp_path):
    """Asks a model about the planted index, into a folder of its own."""

    def run(model, config=SMALL, name="w"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return ask(index, config, model, folder / "w.sqlite", folder / "x", inputs={"index": index.id})

    return run


def scores_of(tmp_path, latent, judge, name="w"):
    store = ExplanationStore(tmp_path / name / "w.sqlite")
    return {s.metric: s for s in store.scores("planted", latent=latent, explainer="llm") if s.scorer == judge}


def test_what_is_planted_is_explained_and_scores_one(walk, tmp_path):
    found = walk(ScriptedModel())
    assert (found.n_explained, found.n_failed, found.n_unscored, found.n_left) == (4, 0, 0, 0)
    for judge in ("detection", "fuzzing"):
        scores = scores_of(tmp_path, 0, judge)
        for metric in ("balanced_accuracy", "auroc", "recall", "specificity", "precision"):
            assert scores[metric].value == 1 and scores[metric].ci_low is None, (judge, metric)
        assert scores["balanced_accuracy"].null < 0.75 and scores["unanswered"].value == 0
        assert scores["lookup"].value == 1, "it is a latent of tokens, which a table of tokens knows as well"
    assert scores_of(tmp_path, 0, "fuzzing")["wrong_specificity"].value == 1
    assert scores_of(tmp_path, 3, "detection")["balanced_accuracy"].value < 0.75, "noise has no explanation"
    assert str(found).startswith("4 latents explained by scripted (median detection balanced accuracy ")


def test_the_explanation_is_what_the_model_made_of_training_text(walk, index, tmp_path):
    model = ScriptedModel()
    walk(model)
    (said,) = ExplanationStore(tmp_path / "w" / "w.sqlite").of_latent("planted", 0)
    chars = "".join(sorted(chr(95 + token) for token in (5, 9)))
    assert (said.explainer, said.text) == ("llm", f"any of the characters {chars}")
    train, test = index.corpus.row_ranges["train"], index.corpus.row_ranges["test"]
    line = lambda rows: ["".join(index.corpus.vocabulary.text(int(t)) for t in index.tokens[row, 1:]) for row in rows]
    for request in model.asked:
        rows = line(train) if request.purpose == "explain" else line(test)
        for text in passages(request):
            plain = text.split("\n(")[0].replace("<<", "").replace(">>", "")
            assert any(plain in row for row in rows), "explained by training text, judged on test text"


@pytest.mark.parametrize("probabilities", [False, True])
def test_errors_of_the_judge_are_what_is_measured(walk, tmp_path, probabilities):
    config = SMALL.model_copy(update={"active": 40, "silent": 40, "window": 15})
    walk(ScriptedModel(0.3, 0.2, probabilities=probabilities), config)
    wrong = np.array([[s["recall"].value, s["specificity"].value] for s in [scores_of(tmp_path, 0, "fuzzing")]])
    assert np.abs(wrong - [0.7, 0.8]).max() < 0.2, "20 windows of each kind"
    score = scores_of(tmp_path, 0, "fuzzing")["balanced_accuracy"]
    assert score.ci_low < 0.75 < score.ci_high
    auroc = scores_of(tmp_path, 0, "fuzzing")["auroc"]
    assert auroc.value == pytest.approx(score.value), "a judge with one strength of opinion has one threshold"
    variant = AskedStore(tmp_path / "w" / "w.sqlite").of_latent("planted", 0)[2].variant
    assert variant.endswith("probabilities of votes" if probabilities else "bare votes")


def test_every_window_is_kept_as_the_judge_read_it(walk, tmp_path):
    model = ScriptedModel()
    walk(model)
    store, asked = ExplanationStore(tmp_path / "w" / "w.sqlite"), AskedStore(tmp_path / "w" / "w.sqlite")
    for judge in ("detection", "fuzzing"):
        read = {text for one in model.asked if one.purpose == judge for text in passages(one)}
        seen = {one.position: one for one in asked.seen("planted", 0) if one.judge == judge}
        judgements = [one for one in store.judgements("planted", 0) if one.scorer == judge]
        assert seen.keys() == {one.position for one in judgements} and {one.text for one in seen.values()} <= read
        assert all((one.expected > 0) == (seen[one.position].kind == "active") for one in judgements)
        assert all(("<<" in one.text) == (judge == "fuzzing") for one in seen.values())


def test_what_was_asked_before_windows_were_kept_is_read_as_it_was(walk, tmp_path):
    walk(ScriptedModel())
    with sqlite3.connect(tmp_path / "w" / "w.sqlite") as db:
        db.execute("DROP TABLE seen")
        db.execute("DELETE FROM component WHERE name = 'seen'")
    asked = AskedStore(tmp_path / "w" / "w.sqlite")
    assert len(asked.of_latent("planted", 0)) == 3 and not asked.seen("planted", 0)


def test_a_new_explanation_takes_what_was_told_of_judging_the_old_one_with_it(walk, tmp_path):
    walk(ScriptedModel())
    found = walk(ScriptedModel(), SMALL.model_copy(update={"judges": ("detection",), "seed": 1}))
    asked = AskedStore(tmp_path / "w" / "w.sqlite")
    assert {one.judge for one in asked.of_index("planted", "llm")} == {"", "detection"}
    assert {one.judge for one in asked.seen("planted", 0)} == {"detection"}
    alone = walk(ScriptedModel(), SMALL.model_copy(update={"judges": ("detection",), "seed": 1}), name="alone")
    assert found == alone, "what it cost to judge the old ones is no part of what the new ones cost"


def test_what_is_there_is_not_asked_again(walk, tmp_path):
    model = ScriptedModel()
    first, n_asked = walk(model), len(model.asked)
    assert walk(model) == first and len(model.asked) == n_asked
    more = SMALL.model_copy(update={"judges": ("fuzzing",)})
    walk(model, more)
    assert len(model.asked) == n_asked


class Mortal(ScriptedModel):
    """Dies, or has spent its budget, after some answers; then lives again."""

    def __init__(self, left, dies):
        super().__init__()
        self.left, self.dies = left, dies

    def submit(self, request):
        self.left -= 1
        if self.left == 0 and self.dies:
            raise KeyboardInterrupt
        if self.left <= 0 and not self.dies:
            self.stopped = "the budget of 3 requests is spent"
        return super().submit(request)


@pytest.mark.parametrize("left", [1, 3, 6, 20, 40])
def test_rows_survive_a_kill_and_are_the_same(walk, tmp_path, left, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    whole = walk(ScriptedModel(), name="whole")
    mortal = Mortal(left, dies=True)
    with pytest.raises(KeyboardInterrupt):
        walk(mortal)
    assert not (tmp_path / "w" / "x").exists()
    mortal.left = -1
    assert walk(mortal) == whole
    rows = [
        [
            sqlite3.connect(tmp_path / name / "w.sqlite").execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("score", "judgement", "asked", "seen")
        ]
        for name in ("w", "whole")
    ]
    assert [[row[1:] for row in table] for table in rows[0]] == [[row[1:] for row in table] for table in rows[1]]


def test_a_spent_budget_leaves_a_valid_part_and_the_rest_follows(walk, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    whole = walk(ScriptedModel(), name="whole")
    mortal = Mortal(30, dies=False)
    part = walk(mortal)
    assert part.stopped and 0 < part.n_left <= 4 and str(part).endswith("The budget of 3 requests is spent.")
    mortal.stopped, mortal.left = None, 10**6
    assert walk(mortal) == whole


class Refusing(ScriptedModel):
    """Says nothing of use of one kind of question."""

    def __init__(self, purpose, answer):
        super().__init__()
        self.purpose, self.said = purpose, answer

    def answer(self, request):
        return self.said if request.purpose == self.purpose else super().answer(request)


class Failing(Refusing):
    """Cannot be reached for one kind of question, but for the first `left` of them."""

    left = 0

    def answer(self, request):
        return ScriptedModel.answer(self, request) if self.left > 0 else super().answer(request)

    def submit(self, request):
        done = super().submit(request)
        self.left -= request.purpose == self.purpose
        if request.purpose == self.purpose and self.left < 0:
            done._result = Failure(subject="request", reason="500 three times")
        return done


@pytest.mark.parametrize("kind", [Refusing, Failing])
def test_explanations_that_fail_are_counted_and_nothing_is_invented(walk, tmp_path, kind):
    found = walk(kind("explain", Answer(text="I cannot help with that.")))
    assert (found.n_explained, found.n_failed) == (0, 4) and not scores_of(tmp_path, 0, "detection")
    (said,) = ExplanationStore(tmp_path / "w" / "w.sqlite").of_latent("planted", 0)
    assert said.status == "failed" and ("500 three times" in said.text or "I cannot help" in said.text)
    again = walk(ScriptedModel())
    assert (again.n_explained, again.n_failed) == (4, 0), "what failed is asked again by the next run"


def test_why_things_failed_is_said(walk):
    found = walk(Refusing("explain", Answer(text="I cannot help with that.")))
    assert "The first failure: " in str(found) and "I cannot help" in str(found)
    found = walk(Refusing("detection", Answer(text="I cannot help with that.")), name="judged")
    assert found.n_unscored == 4 and "The first failure: " in str(found) and "windows unanswered" in str(found)


def test_scores_by_other_judges_stand_when_a_later_walk_asks_fewer(walk):
    both = walk(ScriptedModel())
    fewer = walk(ScriptedModel(), SMALL.model_copy(update={"judges": ("fuzzing",), "latents": 2}))
    names = lambda found: {one.name: one.value for one in found.figures}
    assert names(both) == names(fewer) and "explain/llm/detection/balanced_accuracy" in names(fewer)
    assert fewer.n_explained == 4 and fewer.n_left == 0


@pytest.mark.parametrize("said", ["One sentence.", "one sentence", "…", "1.", "<<>>"])
def test_what_is_copied_from_the_prompt_is_no_explanation(walk, said):
    found = walk(Refusing("explain", Answer(text=json.dumps({"explanation": said}))))
    assert (found.n_explained, found.n_failed) == (0, 4)


def test_an_explanation_is_one_line_that_can_be_written_and_shown(walk, tmp_path):
    said = json.dumps({"explanation": "half \ud800\x00\x1b[31m\nof \u202eit, \u0645\u06cc\u200c\u062e <b>\u2028&"})
    assert walk(Refusing("explain", Answer(text=said))).n_explained == 4
    (kept,) = ExplanationStore(tmp_path / "w" / "w.sqlite").of_latent("planted", 0)
    assert kept.text == "half \ufffd\ufffd\ufffd[31m of \ufffdit, \u0645\u06cc\u200c\u062e <b> &"


@pytest.mark.parametrize("left", [0, 2])
def test_another_model_that_fails_takes_nothing_away(walk, tmp_path, left):
    walk(ScriptedModel())
    store = ExplanationStore(tmp_path / "w" / "w.sqlite")
    before = [store.of_latent("planted", latent) for latent in range(4)], store.scores("planted")
    other = Failing("explain", Answer(text=""))
    other.model, other.left = "another", left
    if left:
        found = walk(other)
        assert (found.n_explained, found.n_failed, found.model) == (left, 4 - left, "another")
        assert found.figures[0].value == left / 4
    else:
        with pytest.raises(UserError, match="Nothing was explained by another: 4 latents failed"):
            walk(other)
        assert AskSummary.of(tmp_path / "w" / "x").model == "scripted"
    after = [store.of_latent("planted", latent) for latent in range(4)], store.scores("planted")
    if not left:
        assert after == before
    assert len([one for said in after[0] for one in said if one.status == "explained"]) == 4
    other.left = 4
    assert (walk(other).n_explained, walk(other).n_failed) == (4, 0)


@pytest.mark.parametrize("kind", [Refusing, Failing])
def test_judgements_that_fail_are_counted_and_nothing_is_invented(walk, tmp_path, kind):
    found = walk(kind("detection", Answer(text="[0, 0, 0]")))
    assert (found.n_explained, found.n_unscored) == (4, 4) and not scores_of(tmp_path, 0, "detection")
    failures = ExplanationStore(tmp_path / "w" / "w.sqlite").failures("planted", scorer="detection")
    assert len(failures) == 4 and "were not judged" in failures[0].reason
    assert scores_of(tmp_path, 0, "fuzzing")["balanced_accuracy"].value == 1
    assert walk(ScriptedModel()).n_unscored == 0


def test_why_a_judge_could_not_be_tried_is_said(walk, monkeypatch):
    monkeypatch.setattr(module.Words, "_is_word", lambda self, token: True)
    found = walk(Failing("check", Failure(subject="check", reason="")), SMALL.model_copy(update={"check": 4}))
    assert "the judge could not be tried: " in found.unfit and found.unfit.endswith("500 three times")
    (figure,) = [one for one in found.figures if one.name == "explain/llm/judge"]
    assert figure.value is None and figure.failure.endswith("500 three times")


class Unasked(ScriptedModel):
    def capabilities(self):
        raise AssertionError("nobody is asked")


def test_where_nothing_can_be_written_nobody_is_asked(walk, tmp_path, monkeypatch):
    walk(ScriptedModel())
    monkeypatch.setattr(database, "WAIT_S", 0.1)
    with sqlite3.connect(tmp_path / "w" / "w.sqlite") as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match=r"locked|busy|in use"):
            walk(Unasked())


def test_what_is_named_twice_counts_once():
    config = AskConfig(judges=("fuzzing", "detection", "fuzzing"), negatives=("token", "token"))
    assert (config.judges, config.negatives) == (("fuzzing", "detection"), ("token",))


def test_all_descriptions_of_the_trial_are_asked_at_once(walk, monkeypatch, index):
    monkeypatch.setattr(module.Words, "_is_word", lambda self, token: True)
    rounds = []
    hold = module.hold
    monkeypatch.setattr(module, "hold", lambda *a, most_open: rounds.append(most_open) or hold(*a, most_open=most_open))
    walk(ScriptedModel(), SMALL.model_copy(update={"check": 4}))
    assert min(rounds) > 4, "no description waits for another"


def test_the_share_explained_speaks_of_what_was_asked_about(walk):
    found = walk(ScriptedModel())
    (share,) = [one for one in found.figures if one.name == "explain/llm/explained_share"]
    assert share.definition.startswith("share of the drawn latents with an explanation by a language model; the others")
    assert "abstentions" not in share.definition


def test_a_judge_at_chance_is_told_so_and_scores_nothing(index, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Words, "_is_word", lambda self, token: True)
    for miss, n_scored in ((0.5, 0), (0.1, 4)):
        model, folder = ScriptedModel(miss, miss), tmp_path / str(miss)
        folder.mkdir()
        config = SMALL.model_copy(update={"check": 20})
        found = ask(index, config, model, folder / "w.sqlite", folder / "x", inputs={"index": index.id})
        (figure,) = [one for one in found.figures if one.name == "explain/llm/judge"]
        assert figure.value == pytest.approx(1 - miss, abs=0.1) and figure.null == 0.5
        assert found.n_explained == 4 and len({request.purpose for request in model.asked}) == (4 if n_scored else 2)
        store = ExplanationStore(folder / "w.sqlite")
        assert len({s.explainer for s in store.scores("planted")}) == bool(n_scored)
        assert found.unfit.startswith("Nothing was scored by detection and fuzzing: on 20") == (not n_scored)


@pytest.mark.parametrize("kind", [Refusing, Failing])
def test_a_judge_of_which_nothing_can_be_read_is_said_why(walk, monkeypatch, kind):
    monkeypatch.setattr(module.Words, "_is_word", lambda self, token: True)
    found = walk(kind("check", Answer(text="I cannot help")), SMALL.model_copy(update={"check": 2}))
    assert "the judge could not be tried: of 2 descriptions 0 could be read: " in found.unfit
    assert found.unfit.endswith(("500 three times", "windows out: 'I cannot help'"))


def test_latents_are_drawn_and_seldom_active_ones_left_out(index):
    few = int(index.table["train_n_active"][2])
    assert sorted(chosen(index, SMALL)) == [0, 1, 2, 3]
    assert 2 not in chosen(index, SMALL.model_copy(update={"min_active": few + 1}))
    two = chosen(index, SMALL.model_copy(update={"latents": 2}))
    assert two == chosen(index, SMALL)[:2], "more latents are the same ones and others"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", 15),
        ("sampling", "top"),
        ("examples", 5),
        ("strengths", False),
        ("logits", True),
        ("thoughts", True),
        ("writer", "contrastive"),
        ("writer", "tokens"),
        ("writer", "output"),
        ("writer", "both"),
        ("active", 5),
        ("silent", 4),
        ("hard", 0),
        ("per_request", 7),
        ("null_share", 0.0),
        ("seed", 1),
    ],
)
def test_every_option_changes_what_is_asked(walk, field, value):
    model, other = ScriptedModel(), ScriptedModel()
    walk(model)
    walk(other, SMALL.model_copy(update={field: value}), name="other")
    assert [r.to_json() for r in model.asked] != [r.to_json() for r in other.asked]
