"""The finish from the verbs: of a run's dictionary, from shards, and of a sweep."""

import json

import pytest
from transformers import MixtralConfig

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.demo import Demo
from sparselex.recipes.run import Run
from sparselex.recipes.stages.harvest import Harvest
from sparselex.recipes.stages.sweep import SWEPT, Sweep
from sparselex.recipes.stages.train import Train
from tests.support.contents import contents
from tests.support.small import small_run
from tests.support.subjects import saved

HOOK = "blocks.0.hook_resid_mid"
STAGE = Train(expansion=1.0, k=4, n_tokens=12_000, finish="kl", finish_share=0.3)


def notes_of(folder):
    return json.loads((folder / "manifest.json").read_text())["notes"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("finish"), hook=HOOK)
    run.do(STAGE)
    return run


def test_a_dictionary_says_that_it_was_finished(finished):
    finish = notes_of(finished.folder / "dictionary")["finish"]
    assert 3_600 <= finish["n_tokens"] < 3_600 + 2 * 2048
    said = STAGE.line(finished, finished.manifest("dictionary"))
    assert f"the last {finish['n_tokens']:,} of them on what the model predicts too" in said


def test_an_equal_configuration_gives_equal_bytes(finished, tmp_path):
    again = Run.create(Workspace.create(tmp_path / "w"), "main", finished.config)
    again.do(STAGE)
    assert contents(again.folder / "dictionary") == contents(finished.folder / "dictionary")


@pytest.mark.slow
def test_from_shards_the_model_runs_too(tmp_path):
    run = small_run(tmp_path, hook=HOOK)
    run.do(Harvest())
    run.do(STAGE)
    assert run.is_cached and notes_of(run.folder / "dictionary")["finish"]["n_steps"] >= 2


@pytest.mark.slow
def test_a_sweep_finishes_all_its_dictionaries_at_several_places(tmp_path):
    """Each is what it would be if its place were swept alone."""
    hooks = (HOOK, "blocks.0.mlp.hook_post")
    common = {"ks": (4,), "expansions": (0.5,), "n_tokens": 12_000, "finish": "kl", "finish_share": 0.3, "n_rows": 10}
    run = small_run(tmp_path / "both", hook=HOOK)
    found = run.do(Sweep(kinds=("topk", "matryoshka"), hooks=hooks, **common))
    assert len(found.rows) == 4 and all(row.failure is None for row in found.rows)
    one = small_run(tmp_path / "one", hook=HOOK)
    one.do(Sweep(kinds=("topk",), **common))
    name = "sae_weights.safetensors"
    among = run.folder / SWEPT / f"{HOOK}-topk-x0.5-k4-s0"
    assert notes_of(among)["finish"]["n_steps"] >= 2
    assert (among / name).read_bytes() == (one.folder / SWEPT / "topk-x0.5-k4-s0" / name).read_bytes()


def test_the_demo_hands_it_on_to_training():
    assert Demo(finish="kl").run_config().stages["train"]["finish"] == "kl"


def test_a_site_that_cannot_be_edited_is_refused_before_training(tmp_path):
    """A router's logits: the experts are chosen beside them."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {"num_key_value_heads": 2, "num_local_experts": 4, "max_position_embeddings": 128, "vocab_size": 4096}
    model = saved(tmp_path / "model", MixtralConfig(**sizes, **experts))
    run = small_run(tmp_path, model=model, hook="blocks.0.mlp.hook_router_logits")
    with pytest.raises(UserError, match="can be read and not edited"):
        run.do(Train(expansion=8.0, k=2, n_tokens=4_000, finish="kl"))
    assert not (run.folder / "dictionary").exists()
