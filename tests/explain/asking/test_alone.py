"""One latent that a reader asks for: explained and judged like those that were drawn, whose figures stay."""

import pytest

from sparselex.base import progress as bars
from sparselex.base.errors import UserError
from sparselex.explain.asking import ask as module
from sparselex.explain.asking.alone import ask_alone, kept_as
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawn_latents import chosen
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.store import ExplanationStore
from tests.support.judge import ScriptedModel
from tests.support.planted import with_neighbours

SMALL = AskConfig(window=8, active=20, silent=12, hard=6, per_request=4, null_share=1.0, check=0, latents=2)


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture(scope="module")
def others(index):
    """Latents that could be drawn and were not."""
    every, drawn = chosen(index, SMALL.model_copy(update={"latents": None})), chosen(index, SMALL)
    return [latent for latent in every if latent not in drawn]


def figures(index, tmp_path, config=SMALL, model=None):
    summary = ask(
        index, config, model or ScriptedModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id}
    )
    return [figure.to_json() for figure in summary.figures]


def scores(index, tmp_path, latent, explainer="llm"):
    found = ExplanationStore(tmp_path / "w.sqlite").scores(index.id, latent=latent, explainer=explainer)
    return {(one.scorer, one.metric): one for one in found}


def test_figures_stay_those_of_the_drawn_latents(index, others, tmp_path):
    before = figures(index, tmp_path)
    told = ask_alone(index, SMALL, ScriptedModel(), tmp_path / "w.sqlite", others[0])
    assert (told.explainer, told.status, told.reason) == ("llm", "explained", "")
    found = scores(index, tmp_path, others[0])
    assert {scorer for scorer, _ in found} == {"detection", "fuzzing"}
    assert figures(index, tmp_path) == before
    assert others[0] not in AskedStore(tmp_path / "w.sqlite").about(index.id)[0].latents


def test_the_null_is_made_by_another_explanation_where_there_is_one(index, others, tmp_path):
    measure = ("detection", "balanced_accuracy")
    ask_alone(index, SMALL, ScriptedModel(), tmp_path / "w.sqlite", others[0])
    assert scores(index, tmp_path, others[0])[measure].null is None
    drawn = chosen(index, SMALL)[0]
    ask_alone(index, SMALL, ScriptedModel(), tmp_path / "w.sqlite", drawn)
    assert scores(index, tmp_path, drawn)[measure].null is not None


def test_it_is_what_a_run_finds_and_a_run_takes_it_up(index, others, tmp_path):
    every = SMALL.model_copy(update={"latents": None})
    ask(index, every, ScriptedModel(), tmp_path / "all.sqlite", tmp_path / "y", inputs={"index": index.id})
    figures(index, tmp_path)
    ask_alone(index, SMALL, ScriptedModel(), tmp_path / "w.sqlite", others[0])
    alone = {key: (one.value, one.ci_low, one.n) for key, one in scores(index, tmp_path, others[0]).items()}
    slow = ExplanationStore(tmp_path / "all.sqlite").scores(index.id, latent=others[0], explainer="llm")
    assert alone == {(one.scorer, one.metric): (one.value, one.ci_low, one.n) for one in slow}
    model = ScriptedModel()
    again = ask_alone(index, SMALL, model, tmp_path / "w.sqlite", others[0])
    assert not model.asked and again.status == "explained"
    model = ScriptedModel()
    figures(index, tmp_path, every, model)
    assert sum(one.purpose == "explain" for one in model.asked) == len(chosen(index, every)) - 3


def test_another_model_is_kept_under_a_name_of_its_own(index, tmp_path):
    before = figures(index, tmp_path)
    drawn, other = chosen(index, SMALL)[0], ScriptedModel(best=1)
    other.model = "Qwen/Qwen3"
    abouts = AskedStore(tmp_path / "w.sqlite").about(index.id)
    config = kept_as(SMALL, abouts, other.model)
    assert config.name == "llm-Qwen-Qwen3" and kept_as(SMALL, abouts, "scripted") == SMALL
    told = ask_alone(index, config, other, tmp_path / "w.sqlite", drawn)
    assert told.explainer == "llm-Qwen-Qwen3" and figures(index, tmp_path) == before


def test_scores_that_are_among_the_figures_are_not_replaced(index, others, tmp_path):
    figures(index, tmp_path)
    other = ScriptedModel()
    other.model = "another"
    store = ExplanationStore(tmp_path / "w.sqlite")
    store.add(index.id, "", [one.model_copy(update={"explainer": "mine"}) for one in store.all(index.id, "llm")])
    there = SMALL.model_copy(update={"writer": "mine"})
    ask(index, there, ScriptedModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})
    with pytest.raises(UserError, match="was judged by scripted"):
        ask_alone(index, there, other, tmp_path / "w.sqlite", chosen(index, SMALL)[0])


def test_a_failure_is_told_and_takes_nothing_away(index, others, tmp_path):
    class Silent(ScriptedModel):
        def explained(self, request):
            return "I would rather not"

    told = ask_alone(index, SMALL, Silent(), tmp_path / "w.sqlite", others[0])
    assert told.status == "failed" and told.reason
    ask_alone(index, SMALL, ScriptedModel(), tmp_path / "w.sqlite", others[0])
    (one,) = [one for one in ExplanationStore(tmp_path / "w.sqlite").all(index.id, "llm") if one.latent == others[0]]
    assert one.status == "explained"


def test_a_judge_at_chance_scores_nothing_and_is_told_of(index, others, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Words, "_is_word", lambda self, token: True)
    guessing = ScriptedModel(miss=0.5, alarm=0.5)
    told = ask_alone(index, SMALL.model_copy(update={"check": 20}), guessing, tmp_path / "w.sqlite", others[0])
    assert told.status == "explained" and "othing was scored" in told.reason
    assert not scores(index, tmp_path, others[0])


def test_of_a_walk_that_goes_on_what_is_left_is_told(index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bars, "FIRST_LINE_AFTER", 0)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_LINES", 0)
    for judges in (("detection",), ("detection", "fuzzing")):
        config = SMALL.model_copy(update={"judges": judges})
        ask(index, config, ScriptedModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("explain: ")]
        assert told[-1].startswith("explain: 100 %"), "though some of it was done before, or cannot be done"
