"""One process at a time, also at the moment when a lock is taken away."""

import fcntl
import resource
import threading

import pytest

from sparselex.base import locks
from sparselex.base.errors import UserError
from sparselex.base.locks import lock


def test_a_lock_that_was_taken_away_while_it_was_waited_for_is_not_held(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder ends and removes it: the file held would have no name, and a
    third process could lock a new one of that name."""
    path, flock, opened = tmp_path / ".a.lock", fcntl.flock, []

    def late(file, how):
        if not opened:
            path.unlink()
        opened.append(file.fileno())
        flock(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with lock(path, "writing a"):
        assert len(opened) == 2 and path.exists()
        monkeypatch.setattr(locks.fcntl, "flock", flock)
        with pytest.raises(UserError, match="is writing a"), lock(path, "writing a"):
            pass
    assert not path.exists()


def test_who_waits_is_told_once_and_then_holds_it(tmp_path):
    path, told, held = tmp_path / ".a.lock", threading.Event(), threading.Event()

    def wait():
        with lock(path, "writing a", on_wait=told.set):
            held.set()

    with lock(path, "writing a"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert told.wait(60) and not held.is_set()
    waiting.join(60)
    assert held.is_set() and not path.exists()


def test_where_the_disk_takes_nothing_no_lock_is_left(tmp_path):
    """A limit of no bytes is told as a full disk is: the file is made, and what is written into it refused."""
    path, (soft, hard) = tmp_path / ".a.lock", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"), lock(path, "writing a"):
            pytest.fail("it was not refused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()
    with lock(path, "writing a"):
        assert path.exists()
