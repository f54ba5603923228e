"""What a run has is not replaced in passing, nor is what it stands for changed under it."""

import contextlib
import shutil

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.config import new_run
from sparselex.recipes.folder import differences
from sparselex.recipes.run import Run
from sparselex.recipes.work import evaluate
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.small import small_run, write_documents

TRAINING = {"expansion": 0.125, "k": 4, "n_tokens": 3_000}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a dictionary, an index, rules and figures."""
    run = small_run(tmp_path_factory.mktemp("made"), TRAINING)
    for verb in ("train", "index", "explain", "evaluate"):
        run.do(verb)
    return run


@pytest.fixture
def run(made):
    """The same, which must be as it was afterwards."""
    before = contents(made.workspace.path)
    yield Run.open(made.workspace)
    assert contents(made.workspace.path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["train", "--k", "8", "--expansion", "0.125", "--tokens", "3000"],
            "made with dictionary.k=4, and not with dictionary.k=8; on it stand eval",
        ),
        (["index", "--n-top", "3"], "options.n_top=20, and not with options.n_top=3; on it stand evaluation"),
        (["explain", "--seed", "7"], "made with seed=0, and not with seed=7; on it stand evaluation"),
        (["harvest", "--hook", "blocks.0.hook_resid_post"], "made with hook=None; it was told hook='blocks.0.hook_r"),
        (["harvest", "--context", "32"], "made with text.n_ctx=64; it was told text.n_ctx=32"),
        (["harvest", "--twin", "permuted"], "made with model.twin='none'; it was told model.twin='permuted'"),
    ],
)
def test_under_what_stands_on_it_nothing_changes(run, arguments, words):
    ended = sparselex(arguments[0], run.workspace.path, *arguments[1:])
    assert ended.code == 2 and words in ended.err and "--replace" in ended.err and "another --run" in ended.err


def test_from_python_the_same_is_told_in_its_words(run):
    for verb, options in (("train", TRAINING | {"k": 8}), ("index", {"n_top": 3})):
        with pytest.raises(UserError, match=r"another name for Run.create, or replace=True"):
            run.do(verb, **options)
    moved = Run.create(run.workspace, "main", run.config.with_reads({"n_ctx": 32}))
    with pytest.raises(UserError, match=r"another name for Run.create, or replace=True"):
        moved.do("train")


def test_without_options_a_run_goes_on_with_what_it_has(run):
    done("train", run.workspace.path)
    assert run.manifest("dictionary").config["dictionary"]["k"] == 4
    run.do("train", **TRAINING)


@pytest.mark.parametrize("verb", ["train", "index", "evaluate"])
def test_a_run_put_together_otherwise_is_refused_under_what_is_there(run, verb):
    moved = Run(run.workspace, "main", run.config.model_copy(update={"hook": "blocks.0.hook_resid_post"}))
    with pytest.raises(UserError, match=r"it was told hook=.blocks\.0\.hook_resid_post"):
        moved.do(verb)


def test_what_no_place_is_said_of_stays_where_it_is(run):
    again = Run.create(run.workspace, "main", new_run("embedded", run.config.text.source, n_ctx=64))
    assert again.config.hook == run.config.hook
    again.do("index")


def test_a_refused_stage_leaves_what_the_run_keeps(run):
    with pytest.raises(UserError, match="lower k"):
        run.do("train", k=4_000, expansion=0.125, replace=True)


@pytest.mark.slow
def test_figures_are_replaced_freely_since_nothing_stands_on_them(tmp_path):
    run = small_run(tmp_path, TRAINING)
    for verb in ("train", "index", "evaluate"):
        run.do(verb)
    before = run.manifest("evaluation").id
    run.do("evaluate", n_rows=4)
    assert run.manifest("evaluation").id != before


@pytest.mark.slow
def test_told_to_replace_it_begins_anew_and_takes_away_what_stood_on_the_old(tmp_path):
    text, workspace = write_documents(tmp_path / "text"), tmp_path / "w"
    done("harvest", workspace, "--text", text, "--context", "64")
    done("train", workspace, "--expansion", "0.125", "--k", "4", "--tokens", "3000")
    done("index", workspace)
    assert sparselex("harvest", workspace, "--context", "32").code == 2
    wrong = sparselex("harvest", workspace, "--hook", "blocks.7.hook_resid_post", "--replace")
    assert wrong.code == 2 and Workspace(workspace).has("main", "index"), "a mistake takes nothing away"
    done("harvest", workspace, "--context", "32", "--replace")
    assert list(Workspace(workspace).artifacts("main")) == ["activations"]
    done("train", workspace)
    done("train", workspace, "--k", "2", "--expansion", "0.125", "--tokens", "3000", "--replace")
    assert Run.open(Workspace(workspace)).manifest("dictionary").config["dictionary"]["k"] == 2


def test_shards_that_come_later_do_not_replace_a_dictionary(tmp_path):
    run = small_run(tmp_path, TRAINING)
    run.do("train")
    first = run.manifest("dictionary").id
    Run.open(run.workspace).do("harvest")
    again = sparselex("train", run.workspace.path)
    assert again.code == 2 and "other activations" in again.err
    assert Run.open(run.workspace).manifest("dictionary").id == first


def test_options_that_a_later_version_brought_are_named():
    """An artifact of an earlier version is not told to be made with "other options"."""
    assert differences({"k": 1}, {"k": 1, "train": {"finish": "nothing"}}) == (
        "no train.finish",
        "train.finish='nothing'",
    )
    assert differences({"k": 1}, {"k": 2, "finish": "kl"}) == ("k=1", "k=2")
    assert differences({"k": 1}, {"k": 1}) is None


@contextlib.contextmanager
def refused_beside(run):
    """Another process that found the run as it is now: called, it is refused, and puts that back."""
    found = run.workspace.as_it_was_if_refused(run.name)
    found.__enter__()
    error = UserError("Another sparselex process is writing that.", "one at a time", "wait.")
    yield lambda *line: found.__exit__(UserError, error, None)  # a second time there is nothing to be put back


@pytest.mark.slow
def test_one_that_is_refused_beside_it_does_not_take_the_options_back_by_which_a_stage_was_done(
    made, tmp_path, monkeypatch
):
    run = Run.open(Workspace(shutil.copytree(made.workspace.path, tmp_path / "w")))
    kept = lambda: Workspace(tmp_path / "w").settings("main")["stages"]
    before = kept()
    with refused_beside(run) as refused, monkeypatch.context() as patched:
        written = evaluate.write_report
        patched.setattr(evaluate, "write_report", lambda workspace: refused() or written(workspace))
        run.do("evaluate", controls=["pca"], n_rows=8)
        run.do("evaluate")  # done, it is not done again
    assert kept()["evaluate"]["controls"] == ["pca"] and kept() | {"evaluate": before["evaluate"]} == before
    run = Run.open(run.workspace)
    with refused_beside(run) as refused:
        run.do("train", **TRAINING | {"k": 2}, replace=True, more={"observers": [refused]})
    assert kept()["train"]["k"] == 2 == run.manifest("dictionary").config["dictionary"]["k"]
    assert kept()["evaluate"]["controls"] == ["pca"]
