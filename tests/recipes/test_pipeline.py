"""Runs: defaults, twins, and what is done again when something changes."""

import pytest
import torch

from sparselex.base.artifacts import read_json, write_json
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.sparse.products import fastest_selection
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import RunConfig, TrainingChoice, new_run, twin_of
from sparselex.training.config import TrainConfig
from tests.support.small import small_config, write_documents


def test_a_run_survives_json():
    config = new_run("embedded", "stdlib", n_tokens=1000, k=4)
    assert RunConfig.parse(config.to_json()) == config


def test_the_twin_is_the_same_run_on_other_weights(small_workspace):
    main, twin = (small_workspace.settings(run) for run in ("main", "twin"))
    assert twin["model"].pop("twin") == "reinitialised" and main["model"].pop("twin") == "none"
    assert main["evaluate"].pop("controls") and not twin["evaluate"].pop("controls")
    assert main.pop("twin_of") is None and twin.pop("twin_of") == "main"
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
    choice = TrainingChoice(kind=kind, expansion=0.25, k=None if kind == "relu" else 4, n_tokens=20_000)
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


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"kind": "relu", "k": 4},
            r"k=4 was given(?s:.*)k with abstopk, archetypal, batchtopk, clt, jumprelu, .*leave k out",
        ),
        ({"kind": "gated", "k": 4, "selection": "float32"}, "k=4 and selection='float32' were given"),
        ({"kind": "topk", "l1": 3.0}, r"(?s:.*)expected: l1 with gated, panneal, relu"),
        ({"kind": "jumprelu", "selection": "bfloat16"}, "type jumprelu have no such setting"),
        ({"kind": "matching_pursuit", "skip": True}, "type matching_pursuit have no such setting"),
        ({"skip": True}, "the run has no target"),
        ({"kind": "topk", "options": {"convention": "2023"}}, r"(?s:.*)expected: convention with relu"),
        ({"kind": "relu", "options": {"conventoin": "2023"}}, r"(?s:.*)did you mean convention"),
        ({"kind": "relu", "l1": 3.0, "options": {"l1": 4.0}}, "l1 is given twice"),
    ],
)
def test_a_choice_that_means_nothing_to_its_type_is_refused_before_anything_is_written(choice, message, tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    workspace = Workspace.create(tmp_path / "w")
    pipeline = Pipeline(workspace, "main", config)
    with pytest.raises(UserError, match=f"(?s){message}"):
        pipeline.use_training(TrainingChoice(**choice))
    with pytest.raises(UserError, match=f"(?s){message}"):
        Pipeline(workspace, "main", config.model_copy(update={"training": TrainingChoice(**choice)})).train()
    assert [path.name for path in workspace.path.rglob("*")] == ["sparselex.json"]


def test_what_is_left_out_takes_the_default_of_the_type(small_workspace):
    pipeline = Pipeline.open(small_workspace, "main")
    for kind in DICTIONARIES.names():
        if kind == "clt":
            continue
        found = pipeline.use_training(TrainingChoice(kind=kind)).train_config().dictionary
        fields = {"kind": kind, "d_in": found.d_in, "d_sae": found.d_sae}
        if "selection" in found.to_json():
            fields["selection"] = fastest_selection()
        assert found == type(found)(**fields)
        assert pipeline.use_training(TrainingChoice(kind=kind, skip=False, k=None)).train_config().dictionary == found


def test_a_run_kept_by_an_earlier_version_is_read_with_what_its_type_used(tmp_path):
    """Those kept k=32 for every type, and whatever else was given."""
    config = small_config(write_documents(tmp_path / "text"))
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    pipeline.keep()
    values = read_json(pipeline.folder / "run.json")
    for kind, kept, used in (
        ("relu", {"k": 32, "l1": 3.0, "selection": "float32"}, {"l1": 3.0}),
        ("topk", {"k": 32, "l1": 3.0}, {"k": 32}),
        ("jumprelu", {"k": 8, "selection": "bfloat16"}, {"k": 8}),
    ):
        values["training"] = {"kind": kind, "expansion": 0.25} | kept
        write_json(pipeline.folder / "run.json", values)
        opened = Pipeline.open(pipeline.workspace, "main")
        assert opened.config.training == TrainingChoice(kind=kind, expansion=0.25, **used)
        assert opened.train_config().dictionary.kind == kind
        assert RunConfig.parse(values).training.k == kept["k"], "reading alone refuses nothing"


WHOLE = [
    {
        "dictionary": {
            "kind": "topk",
            "d_in": 512,
            "d_sae": 77,
            "k": 5,
            "rank_by": "activation",
            "selection": "bfloat16",
        },
        "n_tokens": 6_000,
        "batch_size": 500,
        "lr": 2e-3,
        "clip": 0.5,
        "frozen": "decoder",
        "seed": 3,
        "k_aux": 7,
    },
    {
        "dictionary": {
            "kind": "relu",
            "d_in": 512,
            "d_sae": 33,
            "l1": 2.0,
            "convention": "2023",
            "resample_shares": [0.5],
        },
        "n_tokens": 6_000,
        "auxk_alpha": 0.0,
    },
    {"dictionary": {"kind": "jumprelu", "d_in": 512, "d_sae": 100, "target_l0": 7.5}, "n_tokens": 6_000},
]


@pytest.mark.parametrize("values", WHOLE, ids=lambda values: values["dictionary"]["kind"])
def test_what_is_recorded_is_what_was_trained(values, tmp_path):
    """A whole configuration given in place of the choice: the run read back makes the very same one, and so does its
    twin."""
    config, ahead = TrainConfig.parse(values), int(values["dictionary"]["kind"] == "relu")
    first = Pipeline(Workspace.create(tmp_path / "w"), "main", small_config(write_documents(tmp_path / "text")))
    pipeline = first.use_training(first.config.training.model_copy(update={"prefetch": ahead}))
    pipeline.train(config)
    opened = Pipeline.open(pipeline.workspace, "main")
    assert opened.train_config() == config == TrainConfig.parse(opened.manifest("dictionary").config)
    assert opened.config == pipeline.config and opened.config.training.prefetch == ahead
    assert Pipeline(pipeline.workspace, "twin", twin_of(opened.config)).train_config() == config
    before = opened.manifest("dictionary")
    opened.train()
    assert opened.manifest("dictionary") == before


def test_a_configuration_of_other_sites_than_the_run_is_refused(tmp_path):
    hook = "blocks.0.hook_resid_pre+blocks.0.mlp.hook_post"
    config = small_config(write_documents(tmp_path / "text"), hook=hook)
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    for parts in ([320, 320], []):
        values = {"dictionary": {"kind": "topk", "d_in": 640, "d_sae": 64, "k": 4, "parts": parts}, "n_tokens": 1_000}
        with pytest.raises(UserError, match=r"(?s)parts=.*parts=\[128, 512\]"):
            pipeline.train(TrainConfig.parse(values))
    assert not pipeline.folder.exists()
    with pytest.raises(UserError, match=r"settings has learning_rate, seed"):
        pipeline.use_training(TrainingChoice(settings={"learning_rate": 1, "seed": 2}))
