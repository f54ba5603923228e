"""The command from end to end, on a small real run: what it leaves, what it does again, what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.cli.main import app
from sparselex.evaluate.probes.records import DENSE, LATENTS, Probed
from sparselex.recipes.run import Run
from tests.support.small import build_all, small_run

FEW = {"n_texts": 120, "n_rows": 40, "n_places": 800, "ks": (1, 5), "ns": (2,), "n_seeds": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    begun = small_run(tmp_path_factory.mktemp("probes"))
    made = build_all(begun.workspace, begun.config)
    frozen = made.config.model_copy(update={"twin_of": "main"}).with_stage("train", {"frozen": "decoder"})
    Run.create(begun.workspace, "frozen", frozen).do("train", frozen="decoder", expansion=0.5, k=8, n_tokens=20_000)
    made.do("evaluate probes", **FEW)
    return made


def test_every_kind_of_row_stands_beside_the_latents(run):
    found = Probed.read(run.folder / "probes")
    told = {(concept.texts, concept.name) for concept in found.concepts}
    assert ("code", "in an indented line of code") in told and ("nouns", "number: singular") in told
    for concept in found.concepts:
        assert {row.name for row in concept.rows} == {LATENTS, "neurons", "pca", "random", "frozen", DENSE}
        assert all(0 <= row.auroc.value <= 1 and row.auroc.n for row in concept.rows)
    assert any("no Python" in failure.reason for failure in found.failures)
    tried = {(one.metric, one.texts, bool(one.failure) != bool(one.rows)) for one in found.ablations}
    assert {("tpp", "people", True), ("scr", "people", True), ("scr", "reviews", True)} <= tried


def test_the_report_takes_the_figures_up(run):
    figures = Figures.read(run.folder / "probes")
    assert {figure.name for figure in figures.figures} >= {"probes/sparse/auroc_at_1", "probes/sparse/auroc_at_5"}
    assert all(figure.value is None or figure.null is not None for figure in figures.figures)
    assert {"neurons", "pca", "random", "frozen", DENSE} <= figures.controls.keys()
    report = json.loads(run.workspace.report.read_text())
    assert "probes/sparse/auroc_at_5" in {figure["name"] for figure in report["figures"]}


def test_a_control_keeps_all_its_other_figures_in_the_report(run):
    """The frozen run is a control of the evaluation and of the probes."""
    other = Run.open(run.workspace, "frozen")
    for verb in ("index", "evaluate"):
        other.do(verb)
    report = json.loads(run.workspace.report.read_text())
    of = {figure["name"]: figure["controls"] for figure in report["figures"]}
    assert "frozen" in of["core/fvu"] and "frozen" in of["probes/sparse/auroc_at_5"]
    names = [figure["name"] for figure in report["controls"]["frozen"]]
    assert len(names) == len({*names})


def test_what_is_done_is_not_done_again_and_inputs_are_named(run):
    made = run.manifest("probes")
    assert {"dictionary", "model", "corpus", "frozen/dictionary"} <= made.inputs.keys()
    stage = run.stage("evaluate probes", **FEW)
    assert run.is_done(stage) and not run.is_done(run.stage("evaluate probes", **FEW | {"n_seeds": 1}))
    told = CliRunner().invoke(app, ["evaluate", "probes", str(run.workspace.path), "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout) == Probed.read(run.folder / "probes").to_json()


def test_a_transcoder_is_refused(run):
    other = Run.create(run.workspace, "transcoder", run.config)
    other.read_at("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out")
    other.do("train", expansion=0.5, k=8, n_tokens=10_000)
    with pytest.raises(UserError, match="an autoencoder of one site"):
        other.do("evaluate probes", **FEW)
