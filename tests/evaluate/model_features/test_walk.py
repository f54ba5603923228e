"""From a run to what its model reads of its latents; a direction that nothing can read is flagged."""

import json
import re
import shutil

import pytest
import torch
from typer.testing import CliRunner

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure, Figures
from sparselex.base.formats import number
from sparselex.base.intervals import LEAST_DOCUMENTS
from sparselex.base.sites import Hook, Sites
from sparselex.base.workspace import Workspace
from sparselex.cli.main import app
from sparselex.dictionaries.directions import largest_along
from sparselex.evaluate.model_features import walk
from sparselex.evaluate.model_features.cards import card_in, twin_cards
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.questions import FIGURES, QUESTIONS
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures
from sparselex.evaluate.model_features.walk import model_features
from sparselex.evaluate.model_features.words import TwinCard, against_null, answers, in_short, said_of, summary
from sparselex.recipes.run import Run
from sparselex.recipes.stages.model_features import others_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.model_features import model_features_page

FEW = {
    "n_rows": 24,
    "sample_rows": 40,
    "n_directions": 200,
    "latents": 16,
    "control_latents": 4,
    "n_places": 4,
    "n_beside": 2,
    "n_tokens": 16,
    "controls": ("neurons", "random"),
}

NONE = FEW | {"parts": ()}
"""Relevance alone."""


@pytest.fixture(scope="module")
def run(small_workspace, tmp_path_factory) -> Run:
    made = Run.open(Workspace(shutil.copytree(small_workspace.path, tmp_path_factory.mktemp("read") / "w")))
    made.do("evaluate model-features", **FEW)
    return made


@pytest.fixture(scope="module")
def found(run) -> ModelFeatures:
    return ModelFeatures.from_file(run.folder / "model_features" / "model_features.json")


def test_every_figure_has_its_null_and_stands_beside_other_directions(run, found):
    names = ["relevance", "above_covariance", "unread", "read_span", "unread_variance", "variance_and_relevance"]
    assert [figure.name for figure in found.figures][:6] == [f"model_features/{name}" for name in names]
    later = ["sensitivity/ablated", "plateau", "error_ratio", "attribution", "dose/0.5", "composed", "token_entropy"]
    assert {f"model_features/{name}" for name in later} <= {figure.name for figure in found.figures}
    assert list(found.controls) == ["covariance", "neurons", "random", "shuffled"]
    for figures in (found.figures, *found.controls.values()):
        known = [one for one in figures if one.failure is None]
        assert len(known) >= len(figures) - 1 and all(one.n and one.definition for one in figures)
        assert [one.name for one in known if one.null is None] == []
    null = {figure.name: figure.value for figure in found.controls["covariance"]}
    assert null["model_features/relevance"] == pytest.approx(found.figures[0].null)
    assert null["model_features/above_covariance"] == 0.5
    assert null["model_features/unread"] == pytest.approx(0.05, abs=1e-3)
    assert 0 < found.n_read < found.width == run.dictionary.d_in
    assert len(found.latents) and all(one.variance > 0 and one.relevance >= 0 for one in found.latents)
    told = {one.latent for one in found.latents if one.unread}
    assert len(told) == round(next(f.value for f in found.figures if f.name.endswith("/unread")) * len(found.latents))


def test_of_few_documents_nothing_has_an_interval_whatever_it_is_over(found):
    """Else figures over latents alone would answer, against the dictionary mostly, where the others cannot."""
    assert found.n_effective < LEAST_DOCUMENTS
    for figure in (*found.figures, *(one for figures in found.controls.values() for one in figures)):
        assert figure.ci_low is figure.ci_high is figure.se is None
        assert f"count as {found.n_effective:.3g} of one size and 40 needed" in figure.definition
        assert figure.definition.count("and 40 needed") == 1
    one = Figure(name="f", value=1.0, ci_low=0.9, ci_high=1.1, se=0.1, null=2.0, n=1, definition="")
    assert walk._known([one], LEAST_DOCUMENTS) == [one]
    assert {against_null(said) for said in found.figures} == {"undecided"}


def test_the_report_takes_it_up_and_what_is_done_is_not_done_again(run, found):
    figures = Figures.read(run.folder / "model_features")
    assert figures.figures == found.figures and figures.controls == found.controls
    report = json.loads(run.workspace.report.read_text())
    assert "model_features/relevance" in {figure["name"] for figure in report["figures"]}
    assert run.is_done(run.stage("evaluate model-features", **FEW))
    assert not run.is_done(run.stage("evaluate model-features", **FEW | {"seed": 1}))
    told = CliRunner().invoke(app, ["evaluate", "model-features", str(run.workspace.path), "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout) == found.to_json()


def test_a_direction_that_the_last_norm_takes_out_is_unread_and_the_readout_is_not(run, tmp_path):
    """The mean of the last residual stream is taken out by the norm before the unembedding."""
    hook = Hook("blocks.0.hook_resid_post")
    reader = Reader(run.model, run.corpus, Sites(hooks=(hook,)))
    width = run.model.width(hook)
    unembedding = run.model.readout(hook).unembed.detach().float()
    rows = torch.cat([torch.ones(1, width), torch.linalg.svd(unembedding)[0].T[:3], torch.eye(width)[:40]])
    rows = torch.nn.functional.normalize(rows, dim=-1)
    dictionary = largest_along(rows, torch.full((len(rows),), 5.0), len(rows), torch.zeros(width), (width,))
    config = ModelFeaturesConfig(**NONE)
    found = model_features(run.model, reader, hook, dictionary, config, tmp_path / "m", inputs={})
    of = {one.latent: one for one in found.latents}
    assert of[0].unread and of[0].relevance < 1e-6 and of[0].read_share < 1e-6
    assert not of[1].unread and of[1].relevance > 1 and of[1].ci_low <= of[1].relevance <= of[1].ci_high


def test_what_cannot_be_measured_is_refused_before_anything_is_written(run, tmp_path):
    reader = Reader(run.model, run.corpus, run.sites)
    given = (run.model, reader, run.sites.hooks[0])
    silent = largest_along(torch.eye(run.dictionary.d_in), torch.full((512,), -1e9), 1, torch.zeros(512), (512,))
    with pytest.raises(UserError, match="No latent is active"):
        model_features(*given, silent, ModelFeaturesConfig(**FEW), tmp_path / "m", inputs={})
    few = ModelFeaturesConfig(**FEW | {"n_rows": 2})
    with pytest.raises(UserError, match=r"There are \d documents to test on(?s:.*)5 or more"):
        model_features(*given, run.dictionary, few, tmp_path / "m", inputs={})
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"writes nothing at 'blocks.7.hook_mlp_out'(?s:.*)by --at"):
        run.do("evaluate model-features", **FEW, at="blocks.7.hook_mlp_out")


def test_a_transcoder_is_asked_about_where_it_writes(run):
    """And a dictionary of other sites is no other dictionary of the same."""
    other = Run.create(run.workspace, "transcoder", run.config)
    other.read_at("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out")
    other.do("train", expansion=0.5, k=8, n_tokens=5_000)
    found = other.do("evaluate model-features", **FEW)
    assert found.width == run.model.width(Hook("blocks.0.hook_mlp_out"))
    figures = {figure.name: figure for figure in found.figures}
    assert figures["model_features/error_ratio"].value > 0 and figures["model_features/sensitivity/1"].value > 0
    with pytest.raises(UserError, match=r"Run 'transcoder' reads(?s:.*)name another run by --others"):
        run.do("evaluate model-features", **FEW, others=("transcoder",))
    assert others_of(run) == {}
    with pytest.raises(UserError, match="nobody"):
        run.do("evaluate model-features", **FEW, others=("nobody",))


def test_a_crosscoder_is_asked_about_at_each_of_its_sites(run):
    hooks = "blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"
    other = Run.create(run.workspace, "crosscoder", run.config)
    other.read_at("+".join(hooks), None)
    other.do("train", expansion=0.5, k=8, n_tokens=5_000)
    found = {at: other.do("evaluate model-features", **NONE, at=at, replace=True) for at in hooks}
    assert found[hooks[0]].width == found[hooks[1]].width == run.model.width(Hook(hooks[0]))
    assert found[hooks[0]].figures != found[hooks[1]].figures


def test_another_seed_is_compared_with(run):
    other = Run.create(run.workspace, "seed", run.config)
    other.do("train", **run.stage("train").kept() | {"seed": 7})
    assert set(others_of(run)) == {"seed"}
    with pytest.raises(UserError, match="was to be compared with itself"):
        others_of(run, ("seed", "main"))
    found = run.do("evaluate model-features", **NONE | {"parts": ("stability",)}, replace=True)
    (one,) = found.compared
    assert one.run == "seed" and one.words
    figures = {figure.name: figure for figure in one.figures}
    assert 0 <= figures["model_features/found_again"].value <= 1
    assert all("model_features/nearest/seed" in latent.measured for latent in found.latents)
    figures_of = lambda: {one.name for one in card_in(run.workspace, "main").compared[0].figures}
    other.do("evaluate model-features", **NONE)
    shutil.rmtree(run.folder / KIND)  # made of the same, and so not made again
    run.do("evaluate model-features", **NONE | {"parts": ("stability",)}, replace=True)
    assert "model_features/relevance" in figures_of()
    other.do("train", **run.stage("train").kept() | {"seed": 8}, replace=True)
    assert card_in(run.workspace, "main").compared == [], "of a dictionary that is gone"
    run.do("evaluate model-features", **NONE | {"parts": ("stability",)}, replace=True)
    assert "model_features/relevance" not in figures_of(), "which is that of the dictionary before"


def test_stopped_it_goes_on_with_the_part_that_it_was_in(run, tmp_path, monkeypatch):
    config = ModelFeaturesConfig(**FEW | {"parts": ("sensitivity", "errors", "tokens"), "controls": ("neurons",)})
    given = (run.model, Reader(run.model, run.corpus, run.sites), run.sites.hooks[0], run.dictionary, config)
    whole = model_features(*given, tmp_path / "whole", inputs={})

    def stopped(asked):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(walk._PARTS, "errors", stopped)
        with pytest.raises(KeyboardInterrupt):
            model_features(*given, tmp_path / "stopped", inputs={})
    kept = sorted(path.stem for path in (tmp_path / ".stopped.partial" / "parts").glob("*.json"))
    assert kept == ["relevance", "sensitivity"]
    with monkeypatch.context() as patched:  # what was measured is not measured again
        patched.setitem(walk._PARTS, "sensitivity", stopped)
        assert model_features(*given, tmp_path / "stopped", inputs={}) == whole
    one, other = (tmp_path / name / FILE for name in ("whole", "stopped"))
    assert one.read_bytes() == other.read_bytes()
    one.write_bytes(one.read_bytes().replace(b"0.1", b"0.9"))
    with pytest.raises(UserError, match=r"model_features.json is damaged"):
        model_features(*given, tmp_path / "whole", inputs={})


def test_a_part_that_is_not_as_it_was_written_is_measured_again(run, tmp_path, monkeypatch):
    config = ModelFeaturesConfig(**FEW | {"parts": ("tokens", "errors"), "controls": ()})
    given = (run.model, Reader(run.model, run.corpus, run.sites), run.sites.hooks[0], run.dictionary, config)
    whole = model_features(*given, tmp_path / "whole", inputs={})

    def stopped(asked):
        raise KeyboardInterrupt

    parts = tmp_path / ".stopped.partial" / "parts"
    for damage in (lambda text: text[: len(text) // 2], lambda text: text.replace("1", "2")):
        with monkeypatch.context() as patched:
            patched.setitem(walk._PARTS, "tokens", stopped)
            with pytest.raises(KeyboardInterrupt):
                model_features(*given, tmp_path / "stopped", inputs={})
        (parts / "relevance.json").write_text(damage((parts / "relevance.json").read_text()))
    assert model_features(*given, tmp_path / "stopped", inputs={}) == whole


def test_what_is_said_is_made_from_figures(found):
    said = {one.question: one for one in answers(found)}
    relevance = said["Are its latents read more than directions drawn as activations vary?"]
    assert relevance.verdict == against_null(found.figures[0])
    assert relevance.answer.startswith({"better": "Yes", "worse": "No", "undecided": "It cannot"}[relevance.verdict])
    assert f"Of {len(said)} questions" in in_short([*said.values()])
    assert all(
        f"with too few documents ({number(found.n_effective, 2)}, 40 needed)" in one.answer for one in said.values()
    )
    assert summary(found).endswith(f"too few documents ({number(found.n_effective, 2)}, 40 needed).")
    worse = Figure(name="f", value=1.0, ci_low=0.9, ci_high=1.1, null=2.0, better="higher", n=1, definition="")
    assert against_null(worse) == "worse" and against_null(worse.model_copy(update={"better": "lower"})) == "better"
    assert against_null(worse.model_copy(update={"null": 1.0})) == "undecided"
    assert in_short([]) == "Nothing was asked of it that has an answer."


def measured(*values: tuple[str, float, float, float]) -> ModelFeatures:
    """A card of figures: names, both ends, and the null; more is better."""
    figures = [
        Figure(
            name=f"{KIND}/{name}",
            value=(low + high) / 2,
            ci_low=low,
            ci_high=high,
            null=null,
            better="higher",
            n=1,
            definition="",
        )
        for name, low, high, null in values
    ]
    return ModelFeatures(
        n_tokens=1, n_documents=90, n_effective=80.0, n_read=1, width=2, figures=figures, controls={}, latents=[]
    )


def test_figures_of_one_experiment_are_one_question():
    """Two doses that speak for it are no two reasons; it is decided where all that are decided say the same."""
    card = measured(
        ("dose/0.05", 1.0, 2.0, 0.5),
        ("dose/0.5", 1.0, 2.0, 1.5),
        ("sensitivity/0.5", 0.5, 0.7, 1.0),
        ("sensitivity/1", 1.5, 1.7, 1.0),
        ("sensitivity/ablated", 0.5, 0.7, 1.0),
        ("plateau", 2.0, 3.0, 1.0),
    )
    said = answers(card)
    assert [one.verdict for one in said] == ["undecided", "worse", "better"]
    assert in_short(said).startswith("Of 3 questions 1 speak for it as a dictionary of the model, 1 against it, 1 are")
    steps, _, doses = said
    assert "by steps of 0.5 0.600 (0.500 to 0.700)" in steps.answer and "by steps of 1 1.60" in steps.answer
    assert "at 0.05 nats" in doses.answer and "at 0.5 nats" in doses.answer
    assert answers(card.model_copy(update={"n_effective": 4.3}))[0].answer.startswith(
        "It cannot be told, with too few documents (4.3, 40 needed): "
    )


def test_every_question_can_be_read_alone_and_every_figure_has_one():
    for question in QUESTIONS.values():
        assert question.endswith("?") and not re.search(r"\b(such|so|these|they|it\?)\b", question)
    assert {said.question for said in FIGURES.values()} == set(QUESTIONS)


def test_a_twin_that_answers_the_same_questions_stands_beside_the_count():
    mine = measured(("relevance", 1.0, 2.0, 0.5), ("dose/1", 1.0, 2.0, 0.5), ("read_span", 0.1, 0.2, 0.5))
    twin = TwinCard("noise", "permuted", measured(("relevance", 1.0, 2.0, 0.5), ("read_span", 0.6, 0.7, 0.5)))
    assert (
        "Of the 2 of these that were asked of its twin too (run noise, permuted) 1 speak for this one and 1 against "
        "it, 2 for the twin and 0 against the twin." in summary(mine, [twin])
    )
    alone = TwinCard("noise", "permuted", measured(("ablated", 1.0, 2.0, 0.5)))
    assert summary(mine, [alone]) == summary(mine)


def test_the_twins_card_is_a_column_and_a_sentence(run):
    twin = Run.open(run.workspace, "twin")
    assert twin_cards(run.workspace, "main") == []
    twin.do("evaluate model-features", **NONE)
    (card,) = twin_cards(run.workspace, "main")
    assert card.run == "twin" and "weights" in card.words and twin_cards(run.workspace, "twin") == []
    page = model_features_page(OpenWorkspace(run.workspace), "main")
    assert "asked of its twin too (run twin" in page.summary and "its twin" in page.controls["twin"]
    name = f"{KIND}/relevance"
    assert page.control("twin", name) == card.value(name) != page.control("neurons", name)
    assert "covariance" not in page.controls, "the null stands in its own column"
    line = run.stage("evaluate model-features").line(run, card_in(run.workspace, "main"))
    assert line.startswith(page.summary) and line.endswith("shows it at /runs/main/model-features.")
    marked = {name for name, verdict in page.verdicts.items() if verdict != "undecided"}
    assert all(said_of(name) for name in marked)
