"""`sparselex find` and `sparselex analyse proxies`: what they print and leave, and what they refuse."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sparselex as public
from sparselex.atlas.proxies.records import ConceptFound
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from tests.support.command import done, sparselex

QUICK = ("--neuron-rows", 0, "--n-shifts", 1, "--n-random", 3)


@pytest.fixture(scope="module")
def place(small_workspace, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("find") / "w"
    shutil.copytree(small_workspace.path, path)
    return path


def test_what_is_found_is_printed_kept_and_not_looked_for_again(place):
    ended = done("find", place, "--regex", r"\bself\b", "--as", "self", *QUICK)
    kept = place / "runs" / "main" / "found" / "self"
    found = ConceptFound.from_file(kept / "found.json")
    best = found.carriers[0]
    assert f"{best.latent}" in ended.out and f"{best.sensitivity:.3f}" in ended.out and "by chance" in ended.out
    assert "twin" in ended.out and "left out by --neuron-rows 0" in ended.out
    assert "/runs/main/proxies/self" in ended.out
    before = (kept / "manifest.json").stat().st_mtime_ns
    again = done("find", place, "--regex", r"\bself\b", "--as", "self", *QUICK, "--json").json
    assert ConceptFound.parse(again) == found and (kept / "manifest.json").stat().st_mtime_ns == before
    assert done("check", place).code == 0


def test_another_concept_of_that_name_wants_another_or_to_replace(place):
    done("find", place, "--words", "return", "--as", "kept", *QUICK)
    ended = sparselex("find", place, "--words", "value", "--as", "kept", *QUICK)
    assert ended.code == 2 and "Something else was looked for as 'kept'" in ended.err and "--as" in ended.err
    done("find", place, "--words", "value", "--as", "kept", *QUICK, "--replace")
    assert public.find(place, words=("value",), name="kept", neuron_rows=0, n_shifts=1, n_random=3).rule["of"] == [
        "value"
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to look for was given; give one of --regex, --words"),
        (("--regex", "a", "--script", "Greek"), "--regex and --script were given"),
        (("--regex", "(a"), "is no regular expression: missing )"),
        (("--regex", "^(.|..)+[;!]$", "--time-limit-s", "0.2"), "seconds were over"),
        (("--regex", "nowhere in here"), "0 of "),
        (("--words", "SELF"), "upper and lower case are told apart"),
        (("--script", "Greec"), "did you mean Greek"),
        (("--function", "no_such_module:spans"), "No module named"),
        (("--like", "abc"), "3 bytes long"),
        (("--proxy", "selfs"), "Unknown proxy 'selfs'"),
        (("--words", "self", "--as", "a/b"), "cannot be the name of a concept"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value) or "nothing",
)
def test_what_cannot_be_looked_for_is_told_and_leaves_nothing(place, options, said):
    before = sorted((place / "runs").rglob("*"))
    ended = sparselex("find", place, *options, *QUICK)
    assert ended.code == 2 and said in ended.err and "to do:" in ended.err
    assert "Traceback" not in ended.err and sorted((place / "runs").rglob("*")) == before


def test_a_function_of_a_persons_own_is_asked_anew_when_its_file_has_changed(place, tmp_path, monkeypatch):
    module = tmp_path / "own_spans.py"
    module.write_text(
        "def spans(text):\n    return [(at, at + 4) for at in range(len(text)) if text[at:at+4] == 'self']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ("find", place, "--function", "own_spans:spans", "--as", "own", *QUICK, "--json")
    first = ConceptFound.parse(done(*options).json)
    same = public.find(place, words=("self",), name="words", neuron_rows=0, n_shifts=1, n_random=3)
    assert first.carriers == same.carriers and first.n_test == same.n_test
    module.write_text("def spans(text):\n    return [(0, 8)] if len(text) > 8 else []\n")
    del sys.modules["own_spans"]
    assert ConceptFound.parse(done(*options).json).n_test != first.n_test


def test_examples_come_out_of_a_file_or_as_they_are(place, tmp_path):
    examples = tmp_path / "examples.txt"
    examples.write_text('<script>alert("x")</script> &amp; "><img src=x onerror=alert(1)> <b>bold</b>\n' * 3)
    of_file = done("find", place, "--like", examples, "--as", "markup", "--prior", 0.3, *QUICK, "--json").json
    assert of_file["rule"]["texts"] == [examples.read_text()] and of_file["n_test"] > 0
    named = done("find", place, "--like", examples.read_text(), "--prior", 0.3, *QUICK, "--json").json
    assert named["carriers"] == of_file["carriers"] and named["name"].startswith("script-alert")


def test_the_best_neuron_is_that_of_a_dense_computation(place):
    found = public.find(place, words=("self",), name="neurons", n_shifts=1, n_random=3, neuron_rows=10**6)
    run = Run.open(place, "main")
    index, corpus = run.index, run.corpus
    x = {split: torch.cat([batch.x for batch in run.reader.batches([split])]).numpy() for split in ("train", "test")}
    inside = {}
    for split in ("train", "test"):
        tokens = index.counted_tokens(split)
        assert len(tokens) == len(x[split])
        text = [corpus.vocabulary.text(token) for token in tokens.tokens.tolist()]
        inside[split] = np.array(["self" in one for one in text])
    r = np.array([np.corrcoef(column, inside["train"])[0, 1] if column.any() else -2 for column in x["train"].T])
    neuron = found.neuron
    assert neuron.latent == int(r.argmax()) and neuron.train_sensitivity == pytest.approx(r.max(), abs=1e-5)
    chosen = x["test"][:, neuron.latent]
    assert neuron.sensitivity == pytest.approx(np.corrcoef(chosen, inside["test"])[0, 1], abs=1e-5)
    high = chosen > x["train"][:, neuron.latent].max() / 2
    assert neuron.n_high == high.sum() and neuron.recall == pytest.approx((chosen[inside["test"]] > 0).mean())
    assert "best of 512 coordinates" in found.neuron_words


def test_the_stage_is_done_once_and_again_when_a_twin_is_gone(place):
    options = ("--proxies", "self,numbers", "--least-train", 5, "--least-test", 5, *QUICK)
    ended = done("analyse", "proxies", place, *options)
    assert "concepts have a feature of specificity above 0.9" in ended.out
    manifest = place / "runs" / "main" / "proxies" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    found = Run.open(place, "main").do("analyse proxies")
    assert manifest.stat().st_mtime_ns == before and {one.name for one in found.concepts} == {"self", "numbers"}
    assert all(one.twins.keys() == {"twin"} for one in found.concepts)
    shutil.rmtree(place / "runs" / "twin" / "index")
    done("analyse", "proxies", place, *options)
    assert manifest.stat().st_mtime_ns != before
    assert all(not one.twins for one in Run.open(place, "main").do("analyse proxies").concepts)


def test_a_sampled_index_is_refused(small_workspace, tmp_path):
    shutil.copytree(small_workspace.path, tmp_path / "w")
    copy = Workspace(tmp_path / "w")
    Run.open(copy, "main").do("index", store=False, replace=True)
    with pytest.raises(UserError, match="keeps a sample"):
        public.find(copy, words=("self",), neuron_rows=0)
