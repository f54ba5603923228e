"""Runs: defaults, twins, what is kept, and what is done again when something changes."""

import re
import shlex

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.sparse.precision import fastest_selection
from sparselex.evaluate.report import report
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.config import RunConfig, new_run, twin_of
from sparselex.recipes.run import Run
from sparselex.recipes.work.choices import check_choice, train_config
from sparselex.training.config import TrainConfig
from tests.support.command import done, sparselex
from tests.support.small import TRAINING, small_config, small_run, values_of, write_documents


def test_a_run_survives_json():
    config = new_run("embedded", "stdlib", n_tokens=1000, device="cpu").with_stage("train", {"k": 4})
    assert RunConfig.parse(config.to_json()) == config


def test_the_twin_is_the_same_run_on_other_weights(small_workspace):
    main, twin = (RunConfig.parse(small_workspace.settings(run)) for run in ("main", "twin"))
    assert (main.model.twin, twin.model.twin, main.twin_of, twin.twin_of) == ("none", "reinitialised", None, "main")
    assert main.stages["evaluate"]["controls"] and not twin.stages["evaluate"]["controls"]
    assert twin == twin_of(main)
    cards = [small_workspace.card(run) for run in ("main", "twin")]
    assert [(card.twin, card.twin_of) for card in cards] == [("none", None), ("reinitialised", "main")]
    assert cards[0].sites == cards[1].sites and cards[0].corpus == cards[1].corpus is not None


def test_a_run_opens_by_the_folder_of_its_workspace(small_workspace, tmp_path):
    for folder in (small_workspace.path, str(small_workspace.path)):
        assert Run.open(folder, "twin").config == Run.open(small_workspace, "twin").config
    with pytest.raises(UserError, match="no sparselex workspace"):
        Run.open(tmp_path)
    assert Run.create(tmp_path / "new", "main", new_run("embedded", "stdlib")).workspace.path == tmp_path / "new"


@pytest.mark.slow
def test_a_cached_and_a_live_run_see_the_same_tokens(tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    live = Run(Workspace.create(tmp_path / "a"), "main", config)
    cached = Run(Workspace.create(tmp_path / "b"), "main", config)
    assert cached.do("harvest").n_tokens == live.n_training_tokens
    a, b = live.do("train"), cached.do("train")
    assert a.W_enc.shape == b.W_enc.shape and not torch.equal(a.W_enc, b.W_enc)  # other blocks, other order
    inputs = live.manifest("dictionary").inputs
    assert cached.manifest("dictionary").inputs == inputs | {"shards": "float32"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["topk", "relu", "matching_pursuit"])
def test_every_type_goes_through_every_stage(tmp_path, kind):
    amounts = {} if kind == "relu" else {"k": 4}
    run = small_run(tmp_path)
    run.do("train", kind=kind, expansion=0.25, n_tokens=20_000, **amounts)
    assert run.do("index").d_sae == 128
    assert run.do("explain").n_explained > 0
    assert values_of(run)["core/fvu"] < 1


def test_a_frozen_control_is_trained_as_chosen(tmp_path):
    run = small_run(tmp_path)
    for frozen in ("decoder", "nothing"):
        assert train_config(run, TrainingChoice(frozen=frozen)).frozen == frozen


def test_rows_longer_than_the_model_reads(tmp_path):
    config = new_run("embedded", str(write_documents(tmp_path / "text")), n_ctx=512)
    with pytest.raises(UserError, match="use --context 256"):
        Run(Workspace.create(tmp_path / "w"), "main", config).do("train")


@pytest.mark.slow
def test_an_index_of_another_dictionary_is_not_evaluated(tmp_path):
    run = small_run(tmp_path)
    run.do("train")
    run.do("index")
    run.do("train", replace=True, **TRAINING | {"expansion": 0.25})
    for verb in ("explain", "evaluate"):
        with pytest.raises(UserError, match="index of run 'main' is of another dictionary"):
            run.do(verb)


def test_a_configuration_of_another_kind_than_the_run_is_refused(tmp_path):
    run = small_run(tmp_path, hook="blocks.0.hook_mlp_in", target="blocks.0.hook_mlp_out")
    wanted = train_config(run, TrainingChoice(**TRAINING)).to_json()
    wanted["dictionary"]["d_out"] = None
    with pytest.raises(UserError, match="The run has a target, and the training configuration is of an autoencoder"):
        run.do("train", config=wanted)
    assert not run.folder.exists()
    with pytest.raises(UserError, match="archetypal dictionaries reconstruct their input"):
        run.do("train", **TRAINING | {"kind": "archetypal"})


def test_live_and_cached_runs_are_told_apart(tmp_path):
    """They give out tokens in another order: what was begun from one is not gone on with from the other."""
    live = small_run(tmp_path)
    before = live.inputs()
    live.do("harvest")
    assert "shards" not in before and live.inputs() == before | {"shards": "float32"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"kind": "relu", "k": 4},
            r"k=4 was given(?s:.*)k with batchtopk, topk, jumprelu, .*leave k out",
        ),
        ({"kind": "gated", "k": 4, "selection": "float32"}, "k=4 and selection='float32' were given"),
        ({"kind": "topk", "l1": 3.0}, r"(?s:.*)expected: l1 with relu, gated, panneal"),
        ({"kind": "jumprelu", "selection": "bfloat16"}, "type jumprelu have no such setting"),
        ({"kind": "matching_pursuit", "skip": True}, "type matching_pursuit have no such setting"),
        ({"skip": True}, "the run has no target"),
        ({"kind": "topk", "options": {"convention": "2023"}}, r"(?s:.*)expected: convention with relu"),
        ({"kind": "relu", "options": {"conventoin": "2023"}}, r"(?s:.*)did you mean convention"),
        ({"kind": "relu", "l1": 3.0, "options": {"l1": 4.0}}, "l1 is given twice"),
    ],
)
def test_a_choice_that_means_nothing_to_its_type_is_refused_before_anything_is_written(choice, message, tmp_path):
    with pytest.raises(UserError, match=f"(?s){message}"):
        check_choice(TrainingChoice(**choice), has_target=False)
    run = small_run(tmp_path)
    with pytest.raises(UserError, match=f"(?s){message}"):
        run.do("train", **choice)
    assert [path.name for path in run.workspace.path.rglob("*")] == ["sparselex.json"]


def test_what_is_left_out_takes_the_default_of_the_type(small_workspace):
    run = Run.open(small_workspace)
    for kind in DICTIONARIES.names():
        if kind == "clt":
            continue
        found = train_config(run, TrainingChoice(kind=kind)).dictionary
        fields = {"kind": kind, "d_in": found.d_in, "d_sae": found.d_sae}
        if "selection" in found.to_json():
            fields["selection"] = fastest_selection()
        assert found == type(found)(**fields)
        assert train_config(run, TrainingChoice(kind=kind, skip=False, k=None)).dictionary == found


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


@pytest.mark.slow
@pytest.mark.parametrize("values", WHOLE, ids=lambda values: values["dictionary"]["kind"])
def test_what_is_recorded_is_what_was_trained(values, tmp_path):
    """A whole configuration given in place of the choice: the run read back makes the very same one, and so does its
    twin."""
    config, ahead = TrainConfig.parse(values), int(values["dictionary"]["kind"] == "relu")
    run = small_run(tmp_path)
    run.do("train", config=values, prefetch=ahead)
    opened = Run.open(run.workspace)
    kept = opened.stage("train").choice
    assert train_config(opened, kept) == config == TrainConfig.parse(opened.manifest("dictionary").config)
    assert opened.config == run.config and "prefetch" not in opened.config.stages["train"]
    twin = Run(run.workspace, "twin", twin_of(opened.config))
    assert train_config(twin, twin.stage("train").choice) == config
    before = opened.manifest("dictionary")
    opened.do("train")
    assert opened.manifest("dictionary") == before


def test_a_configuration_of_other_sites_than_the_run_is_refused(tmp_path):
    run = small_run(tmp_path, hook="blocks.0.hook_resid_pre+blocks.0.mlp.hook_post")
    for parts in ([320, 320], []):
        values = {"dictionary": {"kind": "topk", "d_in": 640, "d_sae": 64, "k": 4, "parts": parts}, "n_tokens": 1_000}
        with pytest.raises(UserError, match=r"(?s)parts=.*parts=\[128, 512\]"):
            run.do("train", config=values)
    assert not run.folder.exists()
    with pytest.raises(UserError, match=r"settings has learning_rate, seed"):
        run.do("train", settings={"learning_rate": 1, "seed": 2})


def test_commands_in_messages_can_be_typed_from_any_folder(tmp_path):
    workspace = Workspace.create(tmp_path / "it's mine" / "w")
    workspace.keep(RunCard(name="main", model="embedded"), new_run().to_json())
    for attempt in (
        lambda: workspace.corpus_of("main"),
        lambda: Run.open(workspace).manifest("index"),
        lambda: report(workspace),
        lambda: report(workspace, "main"),
    ):
        with pytest.raises(UserError) as error:
            attempt()
        (command,) = re.findall("run `(.*)`", error.value.todo)
        assert shlex.split(command)[2] == str(tmp_path / "it's mine" / "w")


def test_a_whole_configuration_and_options_beside_it_are_refused(tmp_path):
    with pytest.raises(UserError, match="--config was given together with --k, --tokens"):
        small_run(tmp_path).stage("train", config={}, k=4, n_tokens=100)


@pytest.mark.slow
def test_a_control_reads_and_is_made_as_its_run_in_all_that_is_left_out(tmp_path):
    """Another place or model makes no control, and neither does a run that is not there."""
    w, text = tmp_path / "w", write_documents(tmp_path / "text")
    done("harvest", w, "--text", text, "--context", 32, "--hook", "blocks.0.hook_resid_post", "--tokens", 5_000)
    done("train", w, "--expansion", 0.5, "--k", 3, "--tokens", 3_000, "--seed", 5)
    done("harvest", w, "--run", "frozen", "--twin-of", "main", "--hook", "blocks.0.hook_resid_post")
    done("train", w, "--run", "frozen", "--frozen", "decoder")
    main, frozen = (Run.open(Workspace(w), name) for name in ("main", "frozen"))
    assert frozen.corpus.id == main.corpus.id and frozen.sites == main.sites and frozen.config.twin_of == "main"
    own, of = (run.manifest("dictionary").config for run in (frozen, main))
    assert own == of | {"frozen": "decoder"}
    assert frozen.stage("evaluate").controls == ()
    for given, words in (
        (("--twin-of", "nobody"), "There is no run 'nobody'"),
        (("--twin-of", "main", "--model", "embedded-b"), "to read model='embedded-b', where 'main' reads"),
        (("--twin-of", "main", "--hook", "blocks.0.hook_mlp_out"), "leave hook out, or --twin-of"),
    ):
        ended = sparselex("harvest", w, "--run", "odd", *given)
        assert ended.code == 2 and words in ended.err and "odd" not in Workspace(w).begun()
