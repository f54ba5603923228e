"""Reading what may be anything: every way of being no file and no JSON ends in one message, and none in waiting."""

import os
from pathlib import Path

import pytest

from sparselex.base.config import json_of
from sparselex.base.database import Database, integrity
from sparselex.base.errors import UserError
from sparselex.base.files import checksum, fingerprint, read_json, write_json
from sparselex.base.reading import parse_json, regular
from sparselex.base.workspace import Workspace

NO_JSON = {
    "nothing": b"",
    "half": b'{"a": ',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a number of many digits": b"[" + b"9" * 5_000 + b"]",
    "no UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_told_by_one_kind_of_error(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json cannot be read: (?s:.)*a list"):
        json_of(path, "a list")
    assert read_json(path) is None


def test_what_python_cannot_hold_is_no_json():
    for n in (101, 500, 900, 100_000):
        for begin, end in (("[", "]"), ('{"a": ', "}")):
            with pytest.raises(ValueError, match="nested too deeply"):
                parse_json(begin * n + "1" + end * n)
    assert parse_json("[" * 99 + "]" * 99)
    with pytest.raises(ValueError, match="too many digits"):
        parse_json("9" * 5_000)
    assert parse_json("9" * 4_000) == int("9" * 4_000)


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_pipe_is_not_waited_for(pipe):
    with pytest.raises(UserError, match="no regular file"):
        json_of(pipe, "a list")
    with pytest.raises(OSError, match="no regular file"):
        checksum(pipe)
    assert read_json(pipe) is None
    for use in (lambda: Database(pipe, "notes", []).update(), lambda: integrity(pipe)):
        with pytest.raises(UserError, match=r"pipe is no regular file(?s:.)*move it away"):
            use()


def test_a_device_is_not_read():
    with pytest.raises(UserError, match="no regular file"):
        json_of(Path("/dev/zero"), "a list")


def test_what_is_no_path_is_not_there(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        json_of(tmp_path / "a\0b", "a list")
    with pytest.raises(IsADirectoryError):
        regular(tmp_path)


def test_bytes_that_are_no_utf8_come_back_from_json(tmp_path):
    value = {"text": os.fsdecode(b"/n\xff"), "é": ["\\xff"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_bytes() == '{\n "text": "/n\\udcff",\n "é": [\n  "\\\\xff"\n ]\n}\n'.encode()
    assert fingerprint(value) != fingerprint({})


def test_a_workspace_whose_path_is_no_utf8(tmp_path):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/n\xff"))
    for use in (Workspace, Workspace.create):
        with pytest.raises(UserError, match=r"is no UTF-8(?s:.*)rename it"):
            use(path)
    assert not path.exists()


def test_a_workspace_whose_mark_is_a_pipe(tmp_path):
    Workspace.create(tmp_path / "w")
    (tmp_path / "w/sparselex.json").unlink()
    os.mkfifo(tmp_path / "w/sparselex.json")
    with pytest.raises(UserError, match="is no sparselex workspace"):
        Workspace(tmp_path / "w")
