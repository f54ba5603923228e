"""Artifacts: never half-written, never lost, resumed only where the work is the same."""

import errno
import json
import os
import subprocess
import sys

import pytest

from sparselex.base.artifacts import MANIFEST, identity, open_artifact, verified
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import new_folder, put_back
from sparselex.base.locks import lock
from sparselex.base.staging import finished, stage


class Small(Config):
    size: int = 3
    """Number of bytes written."""


def write(to, config=None, inputs=None, content=b"abc"):
    with stage(to, "toy", config or Small(), inputs or {}) as staging:
        (staging.folder / "data.bin").write_bytes(content)
        return staging.finish({"n": len(content)})


def test_a_finished_artifact_opens_and_names_its_inputs(tmp_path):
    manifest = write(tmp_path / "a", inputs={"corpus": "c0"})
    assert open_artifact(tmp_path / "a", "toy") == manifest
    assert manifest.inputs == {"corpus": "c0"} and manifest.notes == {"n": 3} and set(manifest.files) == {"data.bin"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_equal_work_gives_equal_ids_and_any_difference_another(tmp_path):
    first = write(tmp_path / "a").id
    assert write(tmp_path / "b").id == first
    assert write(tmp_path / "c", content=b"abd").id != first
    assert write(tmp_path / "d", Small(size=4)).id != first
    assert write(tmp_path / "e", inputs={"corpus": "c1"}).id != first


def replace_by(to, content: str):
    with new_folder(to, replaces=True) as folder:
        (folder / "a.txt").write_text(content)


def test_killed_between_two_renames_a_folder_that_was_to_be_replaced_is_put_back(tmp_path):
    replace_by(tmp_path / "run", "old")
    code = (
        "import os, sys; from pathlib import Path; from tests.base.test_artifacts import replace_by\n"
        "renamed = os.rename\n"
        "os.rename = lambda old, new: renamed(old, new) if Path(old).name == 'run' else os._exit(9)\n"
        "replace_by(Path(sys.argv[1]), 'new')"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "run"]).returncode == 9
    assert not (tmp_path / "run").exists()
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "run", replaces=True):
        raise ZeroDivisionError
    assert (tmp_path / "run" / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    put_back(tmp_path / "run")
    replace_by(tmp_path / "run", "newer")
    assert (tmp_path / "run" / "a.txt").read_text() == "newer" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_whose_successor_cannot_be_named_stays(tmp_path, monkeypatch):
    replace_by(tmp_path / "run", "old")
    renamed = os.rename

    def refused(old, new):
        if str(old).endswith(f"{os.getpid()}.aside") and "~old" not in str(old):
            raise OSError(errno.EIO, "no")
        renamed(old, new)

    monkeypatch.setattr("os.rename", refused)
    with pytest.raises(OSError, match="no"):
        replace_by(tmp_path / "run", "new")
    assert (tmp_path / "run" / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_finished_only_for_the_same_config_and_inputs(tmp_path):
    write(tmp_path / "a")
    assert finished(tmp_path / "a", "toy", Small(), {})
    assert not finished(tmp_path / "a", "toy", Small(size=4), {})
    assert not finished(tmp_path / "a", "toy", Small(), {"corpus": "other"})
    assert not finished(tmp_path / "missing", "toy", Small(), {})


def test_a_stage_that_dies_leaves_nothing_visible_and_is_taken_up_again(tmp_path):
    with pytest.raises(ZeroDivisionError), stage(tmp_path / "a", "toy", Small(), {}, resumes=True) as staging:
        (staging.folder / "data.bin").write_bytes(b"abc")
        raise ZeroDivisionError
    assert not (tmp_path / "a").exists()
    with stage(tmp_path / "a", "toy", Small(), {}, resumes=True) as staging:
        assert (staging.folder / "data.bin").read_bytes() == b"abc"
    with stage(tmp_path / "a", "toy", Small(size=9), {}, resumes=True) as staging:
        assert not (staging.folder / "data.bin").exists()


def test_a_stage_that_nobody_takes_up_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), stage(tmp_path / "a", "toy", Small(), {}) as staging:
        (staging.folder / "data.bin").write_bytes(b"abc")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resumes", [True, False])
def test_a_refusal_before_any_work_leaves_nothing_nor_the_folders_it_was_to_lie_in(tmp_path, resumes):
    (tmp_path / "kept").mkdir()
    for to in (tmp_path / "new" / "deep" / "a", tmp_path / "kept" / "a"):
        with pytest.raises(ZeroDivisionError), stage(to, "toy", Small(), {}, resumes=resumes) as staging:
            (staging.folder / "parts").mkdir()
            (staging.folder / "log.jsonl").touch()
            raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_work_that_is_taken_up_stays_where_the_second_start_is_refused(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), stage(tmp_path / "b" / "a", "toy", Small(), {}, resumes=True) as staging:
            (staging.folder / "parts").mkdir(exist_ok=True)
            if not (kept := staging.folder / "parts" / "one.json").exists():
                kept.write_text("1")
            raise ZeroDivisionError
    assert (tmp_path / "b" / ".a.partial" / "parts" / "one.json").read_text() == "1"


def test_an_artifact_is_replaced_whole(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "a", Small(size=4), content=b"abcd")
    assert open_artifact(tmp_path / "a", "toy").notes == {"n": 4}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "data.bin").write_bytes(b"ab"), "2 bytes"),
        (lambda folder: (folder / "data.bin").write_bytes(b"xyz"), "checksum differs"),
        (lambda folder: (folder / "data.bin").unlink(), "missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_damage_is_named(tmp_path, damage, words):
    write(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(UserError, match=words):
        verified(tmp_path / "a", "data.bin", open_artifact(tmp_path / "a", "toy"))


def test_another_kind_is_refused(tmp_path):
    write(tmp_path / "a")
    with pytest.raises(UserError, match="is a toy artifact"):
        open_artifact(tmp_path / "a", "corpus")


def test_a_folder_of_the_users_is_never_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not written by sparselex"):
        write(tmp_path / "a")
    assert (tmp_path / "a" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", "", ".", "..", "a\\b"])
def test_a_file_outside_its_folder_is_no_file_of_an_artifact(tmp_path, name):
    """Paths are made of these names, and the manifest may come from a stranger."""
    manifest = write(tmp_path / "a")
    values = manifest.to_json() | {"files": {name: manifest.files["data.bin"].to_json()}}
    contents = {key: values[key] for key in ("kind", "config", "inputs", "notes", "format")}
    values["id"] = identity(**contents, files={name: manifest.files["data.bin"]})
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"no name of a file inside"):
        open_artifact(tmp_path / "a", "toy")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_notes_that_could_not_be_read_back_replace_nothing(tmp_path, number):
    before = write(tmp_path / "a")
    with (
        pytest.raises(UserError, match="not finite"),
        stage(tmp_path / "a", "toy", Small(size=4), {}) as staging,
    ):
        (staging.folder / "data.bin").write_bytes(b"x")
        staging.finish({"fvu": number})
    assert open_artifact(tmp_path / "a", "toy") == before


def test_two_processes_on_one_artifact(tmp_path):
    path = tmp_path / ".a.lock"
    code = (
        "import sys, time; from pathlib import Path; from sparselex.base.locks import lock\n"
        f"with lock(Path({str(path)!r}), 'writing'):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"pid {other.pid}"), stage(tmp_path / "a", "toy", Small(), {}):
            pass
        other.kill()
    with lock(path, "writing"):  # a killed process leaves no lock behind
        pass


def test_a_full_disk_is_explained(tmp_path):
    with pytest.raises(UserError, match="free some space"), stage(tmp_path / "a", "toy", Small(), {}):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / "a").exists()


def test_manifest_holds_no_clock(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    read = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab"]
    assert read[0] == read[1]
