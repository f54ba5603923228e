"""What is not as it was written is told by one message, in every verb, and never read."""

import contextlib
import json
import shutil
import sqlite3

import pytest
from starlette.testclient import TestClient

from sparselex.base.artifacts import MANIFEST, VERIFIED, read_manifest
from sparselex.base.workspace import Workspace
from sparselex.server.app import create_app
from tests.support.command import done, sparselex
from tests.support.small import build_all, small_config, write_documents


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A workspace with every artifact that the verbs of one run leave."""
    folder = tmp_path_factory.mktemp("damage")
    training = {"expansion": 0.125, "k": 4, "n_tokens": 3_000}
    workspace = Workspace.create(folder / "w")
    build_all(workspace, small_config(write_documents(folder / "text"), training)).do("harvest")
    done("sweep", workspace.path, "--kind", "topk", "--k", "2", "--expansion", "0.125", "--tokens", "3000")
    return workspace.path


def listed(workspace):
    """Every file that some manifest lists, and the manifests."""
    for path in sorted(workspace.rglob("manifest.json")):
        yield path
        yield from (path.parent / name for name in read_manifest(path.parent).files)


def flip(path):
    """Change one bit in the middle of a file, of a manifest one of its id: what stands in the middle of that moves with
    the paths it names, and a size there that is not the file's is told of the file."""
    data = bytearray(path.read_bytes())
    place = data.index(b'"id": "') + 10 if path.name == MANIFEST else len(data) // 2
    data[place] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "w")


def test_check_finds_every_flipped_bit_and_names_the_file(copy):
    assert "Everything is as it was written." in done("check", copy).out
    assert all(not one["fault"] for one in done("check", copy, "--json").json)
    for path in listed(copy):
        before = path.read_bytes()
        if not before:
            continue
        flip(path)
        ended = sparselex("check", copy)
        assert ended.code == 1 and str(path) in ended.out and "to do:" in ended.out, path
        path.write_bytes(before)
    assert sparselex("check", copy).code == 0


@pytest.mark.parametrize(
    "change",
    ["component SET version = 'x'", "explanation SET status = x'ff'", "score SET value = 'x'", "score SET n = 1e999"],
)
def test_rows_of_other_values_are_told_by_all_who_read_them(copy, change):
    with contextlib.closing(sqlite3.connect(copy / "sparselex.sqlite")) as db, db:
        db.execute(f"UPDATE {change}")
    checked = sparselex("check", copy)
    assert checked.code == 1 and "sparselex.sqlite is damaged" in checked.out and "move it away" in checked.out
    client = TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1", raise_server_exceptions=False)
    pages = [client.get(f"/runs/main/features{page}") for page in ("", *(f"/{latent}" for latent in range(64)))]
    assert {page.status_code for page in pages} <= {200, 409}
    assert any("sparselex.sqlite is damaged" in page.text for page in pages)
    ended = sparselex("explain", copy, "--seed", "9")
    assert ended.code in (0, 2) and "fault" not in ended.err


def test_check_names_what_does_not_belong_there(copy):
    (copy / "runs/main/index/notes.txt").write_text("mine")
    (copy / "runs/main/.index.partial").mkdir()
    (copy / "runs/main/run.json").write_text((copy / "runs/main/run.json").read_text().replace("64", "65"))
    ended = sparselex("check", copy)
    assert ended.code == 1 and "2 of" in ended.out
    for words in ("notes.txt", ".index.partial", "is not as it was written"):
        assert words in ended.out


@pytest.mark.parametrize("ending", [".partial", ".old", ".copy", ".lock"])
def test_unfinished_work_is_said_and_is_no_damage(copy, ending):
    (copy / f"runs/main/.dictionary{ending}").mkdir()
    ended = done("check", copy)
    assert f"runs/main/.dictionary{ending}: unfinished work of a command" in ended.out
    assert "Everything that is finished is as it was written." in ended.out
    (left,) = [one for one in done("check", copy, "--json").json if one["unfinished"]]
    assert (left["place"], left["fault"], left["todo"]) == (f"runs/main/.dictionary{ending}", "", "")


READERS = {
    "corpora/*/tokens.npy": ["index", "--n-top", "3", "--replace"],
    "corpora/*/documents.npy": ["evaluate", "--n-rows", "5"],
    "runs/main/activations/shard-00000.safetensors": ["train", "--k", "3", "--expansion", "0.125", "--replace"],
    "runs/main/dictionary/sae_weights.safetensors": ["evaluate", "--n-rows", "5"],
    "runs/main/dictionary/config.json": ["export", "{new}"],
    "runs/main/index/values.npy": ["explain", "--seed", "9"],
    "runs/main/index/statistics-max.npy": ["evaluate", "--n-rows", "5"],
    "runs/main/evaluation/figures.json": ["report"],
    "runs/main/explanations/figures.json": ["report"],
    "runs/main/swept/*/sae_weights.safetensors": ["use", "{member}", "--as", "other"],
    "runs/main/sweep/sweep.json": ["sweep"],
    "runs/main/run.json": ["evaluate"],
}


@pytest.mark.parametrize("pattern", READERS)
def test_whoever_reads_what_was_changed_says_so(copy, pattern, tmp_path):
    (path,) = list(copy.glob(pattern))[:1]
    flip(path)
    verb, *options = READERS[pattern]
    told = {"new": tmp_path / "new", "member": next((copy / "runs/main/swept").iterdir()).name}
    ended = sparselex(verb, copy, *(option.format(**told) for option in options))
    assert ended.code == 2 and ended.err.count("error:") == 1 and "to do:" in ended.err
    assert str(path) in ended.err


def test_a_run_that_is_no_json_any_more_is_named(copy):
    (copy / "runs/main/run.json").write_text("{")
    ended = sparselex("evaluate", copy)
    assert ended.code == 2 and f"{copy / 'runs/main/run.json'} is not as it was written" in ended.err


def test_pages_show_what_can_be_read(copy):
    flip(copy / "runs/main/sweep/sweep.json")
    flip(copy / "runs/main/evaluation/density.json")
    flip(copy / "runs/main/index/top-values.npy")
    client = TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1")
    front = client.get("/")
    assert (
        front.status_code == 200 and "sweep.json is damaged" in front.text and "density.json is damaged" in front.text
    )
    page = client.get("/runs/main/features/1")
    assert page.status_code == 409 and "top-values.npy is damaged" in page.text


def test_a_file_is_compared_once_and_again_when_it_was_touched(copy, monkeypatch):
    from sparselex.base import artifacts

    hashed, checksum = [], artifacts.checksum
    monkeypatch.setattr(artifacts, "checksum", lambda path: hashed.append(path.name) or checksum(path))
    (corpus,) = (copy / "corpora").iterdir()
    manifest = read_manifest(corpus)
    for _ in range(3):
        artifacts.verified(corpus, "tokens.npy", manifest)
    assert hashed == ["tokens.npy"], "a copy is no longer the file whose checksum was made when it was written"
    (corpus / "tokens.npy").touch()
    artifacts.verified(corpus, "tokens.npy", manifest)
    assert hashed == ["tokens.npy"] * 2


def test_the_stage_that_wrote_a_file_has_compared_it(whole, monkeypatch):
    from sparselex.base import artifacts

    monkeypatch.setattr(artifacts, "_VERIFIED", {})
    monkeypatch.setattr(artifacts, "checksum", lambda path: pytest.fail(f"{path} was hashed again"))
    for path in whole.rglob("manifest.json"):
        manifest = read_manifest(path.parent)
        assert sorted(json.loads((path.parent / VERIFIED).read_text())) == sorted(manifest.files)
        for name in manifest.files:
            artifacts.verified(path.parent, name, manifest)


@pytest.mark.parametrize(("gone", "verb"), [("index", "index"), ("dictionary", "train")])
def test_what_was_deleted_is_called_gone_with_the_command_that_makes_it_again(copy, gone, verb):
    """Not: replaced by another."""
    shutil.rmtree(copy / "runs" / "main" / gone)
    for asked in ("explain", "evaluate"):
        ended = sparselex(asked, copy)
        assert ended.code == 2 and f"no {gone} yet" in ended.err and f"run `sparselex {verb}" in ended.err, ended.err
    why = f"its {gone} is gone, and `sparselex {verb}` makes that again"
    ended = done("report", copy)
    for name in ("evaluation", "explanations"):
        assert f"• Left out: {name}, {why}." in ended.out
    assert "┃" not in ended.out, "no table of nothing"
    assert dict.fromkeys(("evaluation", "explanations"), why) == done("report", copy, "--json").json["stale"]
    client = TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1")
    assert client.get("/index.json").json()["shown"]["notices"] == [
        f"Left out: {name}, {why}." for name in ("evaluation", "explanations")
    ]
    if gone == "index":
        assert client.get("/runs/main/features").status_code == 404
        assert "sparselex index" in client.get("/runs/main/features").text
        done("index", copy)
        assert done("report", copy, "--json").json["stale"] == {}, "the same index, of which all the others are"
