"""From a run to what its model reads of its latents; a direction that nothing can read is flagged."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.sites import Hook, Sites
from sparselex.base.workspace import Workspace
from sparselex.cli.main import app
from sparselex.dictionaries.directions import largest_along
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.records import ModelFeatures
from sparselex.evaluate.model_features.walk import model_features
from sparselex.recipes.run import Run

FEW = {"n_rows": 24, "sample_rows": 40, "n_directions": 200}


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
    assert [figure.name for figure in found.figures] == [f"model_features/{name}" for name in names]
    assert list(found.controls) == ["covariance", "neurons", "pca", "random"]
    for figures in (found.figures, *found.controls.values()):
        assert all(one.n and one.null is not None and one.definition for one in figures)
    null = {figure.name: figure.value for figure in found.controls["covariance"]}
    assert null["model_features/relevance"] == pytest.approx(found.figures[0].null)
    assert null["model_features/above_covariance"] == 0.5 and null["model_features/unread"] == pytest.approx(0.05)
    assert 0 < found.n_read < found.width == run.dictionary.d_in
    assert len(found.latents) and all(one.variance > 0 and one.relevance >= 0 for one in found.latents)
    told = {one.latent for one in found.latents if one.unread}
    assert len(told) == round(next(f.value for f in found.figures if f.name.endswith("/unread")) * len(found.latents))


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
    config = ModelFeaturesConfig(**FEW)
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
    assert not (tmp_path / "m").exists()
    other = Run.create(run.workspace, "transcoder", run.config)
    other.read_at("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out")
    other.do("train", expansion=0.5, k=8, n_tokens=5_000)
    with pytest.raises(UserError, match="an autoencoder of one site of one model"):
        other.do("evaluate model-features", **FEW)
