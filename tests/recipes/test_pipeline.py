"""Runs: defaults, twins, and what is done again when something changes."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import RunConfig, TrainingChoice, new_run, twin_of
from tests.support.small import small_config, write_documents


def test_a_run_survives_json():
    config = new_run("embedded", "stdlib", n_tokens=1000, k=4)
    assert RunConfig.parse(config.to_json()) == config


def test_the_twin_is_the_same_run_on_other_weights(small_workspace):
    main, twin = (small_workspace.settings(run) for run in ("main", "twin"))
    assert twin["model"].pop("control") == "reinitialised" and main["model"].pop("control") == "none"
    assert main["evaluate"].pop("controls") and not twin["evaluate"].pop("controls")
    assert main == twin
    assert RunConfig.parse(small_workspace.settings("twin")) == twin_of(
        RunConfig.parse(small_workspace.settings("main"))
    )


def test_a_cached_and_a_live_run_see_the_same_tokens(tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    live = Pipeline(Workspace.create(tmp_path / "a"), "main", config)
    cached = Pipeline(Workspace.create(tmp_path / "b"), "main", config.model_copy(update={"cached": True}))
    assert cached.harvest().n_tokens == live.n_training_tokens
    a, b = live.train(), cached.train()
    assert a.W_enc.shape == b.W_enc.shape and not torch.equal(a.W_enc, b.W_enc)  # other blocks, other order
    inputs = live.manifest("dictionary").inputs
    assert cached.manifest("dictionary").inputs == inputs | {"shards": "float32"}


@pytest.mark.parametrize("kind", ["topk", "relu", "matching_pursuit"])
def test_every_type_goes_through_every_stage(tmp_path, kind):
    config = small_config(write_documents(tmp_path / "text"))
    choice = TrainingChoice(kind=kind, expansion=0.25, k=4, n_tokens=20_000)
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config.model_copy(update={"training": choice}))
    pipeline.train()
    assert pipeline.index().d_sae == 128
    assert pipeline.explain().n_explained > 0
    assert {figure.name: figure for figure in pipeline.evaluate().figures}["core/fvu"].value < 1


def test_a_frozen_control_is_trained_as_chosen(tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    choice = config.training.model_copy(update={"frozen": "decoder"})
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "frozen", config.model_copy(update={"training": choice}))
    assert pipeline.train_config().frozen == "decoder"
    assert pipeline.use_training(TrainingChoice()).train_config().frozen == "nothing"


def test_rows_longer_than_the_model_reads(tmp_path):
    config = new_run("embedded", str(write_documents(tmp_path / "text")), n_ctx=512)
    with pytest.raises(UserError, match="use --context 256"):
        Pipeline(Workspace.create(tmp_path / "w"), "main", config).train()


def test_an_index_of_another_dictionary_is_not_evaluated(tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    pipeline.train()
    pipeline.index()
    other = pipeline.use_training(config.training.model_copy(update={"expansion": 0.25}))
    other.train()
    with pytest.raises(UserError, match="index of run 'main' is of another dictionary"):
        other.evaluate()


def test_a_configuration_of_another_kind_than_the_run_is_refused(tmp_path):
    config = small_config(
        write_documents(tmp_path / "text"), hook="blocks.0.hook_mlp_in", target="blocks.0.hook_mlp_out"
    )
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    wanted = pipeline.train_config()
    plain = wanted.model_copy(update={"dictionary": wanted.dictionary.model_copy(update={"d_out": None})})
    with pytest.raises(UserError, match="The run has a target, and the training configuration is of an autoencoder"):
        pipeline.train(plain)
    assert not pipeline.folder.exists()
    with pytest.raises(UserError, match="archetypal dictionaries reconstruct their input"):
        pipeline.use_training(config.training.model_copy(update={"kind": "archetypal"})).train()


def test_live_and_cached_runs_are_told_apart(tmp_path):
    """They give out tokens in another order: what was begun from one is not gone on with from the other."""
    config = small_config(write_documents(tmp_path / "text"))
    live = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    before = live.inputs()
    live.harvest()
    assert "shards" not in before and live.inputs() == before | {"shards": "float32"}
