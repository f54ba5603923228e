"""How a run's text is divided: by what its model has learned, and as it was by a run that goes on."""

import html
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.load import load_model
from sparselex.recipes.config import new_run
from sparselex.recipes.demo import Demo
from sparselex.recipes.embedded_lm import EmbeddedConfig, _divide
from sparselex.recipes.run import Run
from sparselex.recipes.stages.harvest import read_text
from sparselex.server.app import create_app
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.overview import overview
from sparselex.text.build import build_corpus
from sparselex.text.config import HeldOutDocuments
from sparselex.text.sources import load_documents
from sparselex.text.splits import is_held_out
from tests.support.command import done, sparselex
from tests.support.small import small_config, write_documents
from tests.text.test_copies import prose

EARLIER = {"copies", "held_out", "text_field", "documents", "bos"}
"""Fields of which an earlier version knew nothing."""


@pytest.fixture(scope="module")
def modules():
    return list(load_documents("stdlib"))


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_shipped_models_are_tested_on_what_they_held_out(name, modules):
    held_out = new_run(name, "stdlib").text.held_out
    assert held_out == HeldOutDocuments(share=0.05, seed=0) == Demo(model=name).run_config().text.held_out
    _, kept_back = _divide(iter(modules), EmbeddedConfig())
    assert kept_back == [module for module in modules if is_held_out(module.name, held_out)]
    assert (
        len(kept_back) >= 80 and (EMBEDDED[name] / "README.md").read_text(encoding="utf-8").count("106 held out") == 1
    )


def test_of_other_models_and_texts_nothing_is_known(tmp_path):
    folder = str(write_documents(tmp_path / "text", 1))
    for model, text in (("gpt2", "stdlib"), ("embedded", folder)):
        config = new_run(model, text)
        assert (config.text.held_out, config.text.copies) == (None, "together")
        again = new_run("embedded", "stdlib").with_reads({"model": model, "text": text})
        assert again.text == config.text
        assert again.with_reads({"model": "embedded", "text": "stdlib"}) == new_run("embedded", "stdlib")


@pytest.mark.slow
def test_the_demo_has_documents_enough_for_intervals(tmp_path, modules):
    """Forty of one size, counted as the report does: no document for more than twice its even share."""
    demo = Demo().run_config()
    model = load_model(demo.model)
    corpus = build_corpus(iter(modules), model.tokenizer, demo.text, tmp_path / "corpus")
    sizes = np.bincount(corpus.documents[corpus.documents >= 0], minlength=corpus.n_documents)
    sizes = sizes[corpus.split_of_documents == 2]
    sizes = sizes.clip(max=2 * sizes.mean())
    assert sizes.sum() ** 2 / (sizes**2).sum() >= 40
    found = corpus.manifest.notes["division"]
    assert found["learned_test_tokens"] == 0 and found["windows_in_train"] / found["windows"] < 0.02
    said = read_text(corpus.manifest)
    assert "% of windows of 32 tokens stand in train too, and the model was trained on: 0 of " in said


def earlier(run):
    """The run as an earlier version has written it."""
    settings = run.workspace.settings("main")
    settings["text"] = {name: value for name, value in settings["text"].items() if name not in EARLIER}
    run.workspace.keep(run.workspace.card("main"), settings)


def test_a_run_of_an_earlier_version_goes_on_with_its_corpus(tmp_path):
    config = small_config(write_documents(tmp_path / "text"))
    old = config.model_copy(update={"text": config.text.model_copy(update={"copies": "apart", "bos": "always"})})
    run = Run.create(Workspace.create(tmp_path / "w"), "main", old)
    run.do("harvest")
    corpus = run.corpus
    assert not EARLIER & corpus.manifest.config.keys()
    assert "copies were not looked for; of test, " in read_text(corpus.manifest)
    earlier(run)
    opened = Run.open(run.workspace)
    assert opened.is_done(opened.stage("harvest")) and opened.config.text == old.text
    assert Run.open(run.workspace).corpus.id == corpus.id
    again = Run.create(run.workspace, "main", Demo(text=str(tmp_path / "text")).run_config(opened.config))
    assert again.is_done(again.stage("harvest"))
    with pytest.raises(UserError, match=r"text\.copies='apart'; it was told text\.bos='auto', text\.copies='together'"):
        Run.create(run.workspace, "main", config).do("harvest", dtype="int8")
    assert len(list(run.workspace.corpora.iterdir())) == 1


def test_the_line_about_a_text_says_how_far_its_splits_are_apart(tmp_path):
    folder = write_documents(tmp_path / "text")
    for number in range(3):
        (folder / f"copy-{number}.py").write_text((folder / f"doc-00{number + 1}.py").read_text() + "# end\n")
    run = Run.create(Workspace.create(tmp_path / "w"), "main", small_config(folder))
    said = read_text(run.corpus.manifest)
    assert (
        "of 43 documents (train " in said and "; 6 of them copies, in 3 groups that no split divides; of test, " in said
    )
    assert said.endswith(f"trained on: not known of {run.corpus.manifest.notes['division']['test_tokens']:,} tokens")
    run.corpus.manifest.notes.pop("division")
    assert read_text(run.corpus.manifest).endswith("; copies were not looked for")


def test_what_was_skipped_and_what_is_of_each_source_is_said_wherever_the_text_is(tmp_path):
    """In the line of a stage and in the browser."""
    folder, lines = write_documents(tmp_path / "text"), tmp_path / "more.jsonl"
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    records = [{"body": prose(number, 200)} for number in range(40)] + [{"body": None}]
    lines.write_text("".join(json.dumps(record) + "\n" for record in records[::-1]) + '{"body": "cut')
    source = f"{folder}@3+{lines}@1"
    done("harvest", tmp_path / "w", "--text", source, "--text-field", "body", "--context", "64")
    said = sparselex("harvest", tmp_path / "w").out
    shown = overview(OpenWorkspace(Workspace(tmp_path / "w"))).corpora[0]
    assert "skipped: " in shown.skipped and "empty documents (1)" in shown.skipped and shown.skipped in said
    assert f"tokens of {lines}" in shown.parts and shown.parts in said
    client = TestClient(create_app(Workspace(tmp_path / "w")), base_url="http://127.0.0.1")
    page = html.unescape(client.get("/").text)
    assert shown.skipped in page and shown.parts in page
