"""A run that has its corpus goes on with it: text that was edited, moved or is out of reach stops no later stage."""

import shutil

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.lm.embedded import EMBEDDED
from sparselex.recipes.config import new_run
from sparselex.recipes.demo import Demo, plans
from sparselex.recipes.run import Run
from sparselex.recipes.work.sweep import use
from sparselex.text import sources
from sparselex.text.files import file_documents
from tests.support.command import done, sparselex
from tests.support.small import TRAINING, small_run, write_documents

OTHER = TRAINING | {"k": 4}
SIZES = ("--context", 64, "--tokens", 20_000)


def take_all(run, **training):
    """Every stage on a run that is opened anew for each, as the command line does."""
    for verb, options in (("train", training), ("index", {}), ("explain", {}), ("evaluate", {"controls": ()})):
        Run.open(run.workspace).do(verb, replace=True, **options)


@pytest.mark.slow
def test_a_dataset_is_asked_for_once(tmp_path, monkeypatch):
    asked = []

    def documents(source, field):
        asked.append(source)
        return file_documents(write_documents(tmp_path / "text"))

    monkeypatch.setattr(sources, "dataset_documents", documents)
    run = Run.create(Workspace.create(tmp_path / "w"), "main", new_run("embedded", "lab/texts-1.5", n_ctx=64))
    run.do("train", **TRAINING)
    assert asked == ["lab/texts-1.5"]
    monkeypatch.setattr(sources, "dataset_documents", lambda source, field: pytest.fail("the network was asked"))
    take_all(run, **OTHER)
    done("harvest", run.workspace.path)


@pytest.mark.slow
def test_text_that_is_gone_stops_no_stage(tmp_path):
    run = small_run(tmp_path)
    run.do("train")
    corpus = run.corpus.id
    shutil.rmtree(tmp_path / "text")
    take_all(run, **OTHER)
    again = Run.open(run.workspace)
    assert again.corpus.id == corpus and again.stage("train").k == 4
    again.do("sweep", ks=(4,), expansions=(0.1,), n_tokens=2_000, n_rows=8, moment_rows=8)
    (name,) = [path.name for path in (run.folder / "swept").iterdir() if not path.name.startswith(".")]
    used = use(again, name, "used")
    assert used.corpus.id == corpus and used.do("index").corpus.id == corpus
    assert run.workspace.card("used").corpus == run.workspace.card("main").corpus
    with pytest.raises(UserError, match="does not exist"):
        Run.create(run.workspace, "second", again.config).do("train")
    shutil.rmtree(run.workspace.corpora)
    with pytest.raises(UserError, match="does not exist"):
        Run.open(run.workspace).do("train", replace=True, **TRAINING)


@pytest.mark.slow
def test_edited_text_is_read_when_a_run_is_begun_with_it(tmp_path):
    run = small_run(tmp_path)
    run.do("train")
    before = run.corpus.id
    (tmp_path / "text" / "new.txt").write_text("words that were not there before\n" * 50)
    Run.open(run.workspace).do("train", replace=True, **OTHER)
    assert Run.open(run.workspace).corpus.id == before
    begun = Run.create(run.workspace, "main", run.config)
    assert not begun.is_done(begun.stage("train"))
    begun.do("train", replace=True)
    assert begun.corpus.id != before and begun.is_done(begun.stage("train"))
    opened = Run.open(run.workspace)
    assert opened.corpus.id == begun.corpus.id and opened.is_done(opened.stage("train"))


@pytest.mark.slow
def test_what_the_demo_did_on_other_text_is_not_done(tmp_path):
    """What a stage made of the old corpus, after its text was edited, does not stand for the text as it is."""
    demo = Demo(text=str(write_documents(tmp_path / "text")), n_ctx=64, n_tokens=20_000, expansion=0.5, twin=False)
    workspace = Workspace.create(tmp_path / "w")
    (plan,) = plans(workspace, demo)
    Run(workspace, "main", plan.folder.config).do("train")
    assert [stage.verb for stage in plans(workspace, demo)[0].done] == ["train"]
    (tmp_path / "text" / "doc-000.py").write_text("other words " * 100)
    Run.open(workspace).do("index")
    assert not plans(workspace, demo)[0].done


@pytest.mark.slow
def test_relative_paths_hold_from_any_folder(tmp_path, monkeypatch):
    """Of text and of a model: what is kept are whole paths."""
    write_documents(tmp_path / "texts")
    shutil.copytree(EMBEDDED["embedded"], tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    done("harvest", "w", "--text", "texts", "--model", "model", *SIZES)
    kept = Workspace(tmp_path / "w").settings("main")
    assert (kept["text"]["source"], kept["model"]["name"]) == (str(tmp_path / "texts"), str(tmp_path / "model"))
    monkeypatch.chdir(tmp_path / "w")
    done("train", ".", "--expansion", 0.25, "--tokens", 2_000)
    (tmp_path / "w" / "runs" / "main" / "tickets.json").unlink()
    done("harvest", ".")
    assert "does not exist" in sparselex("harvest", ".", "--text", "./texts", "--replace").err


def test_names_are_kept_as_they_are():
    config = new_run("embedded", "stdlib", second_model="lab/model")
    assert (config.model.name, config.second_model.name, config.text.source) == ("embedded", "lab/model", "stdlib")
