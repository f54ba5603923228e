"""Latents shared out among processes: the same results, and nothing left behind."""

import os
import signal
import sys
import time

import pytest

from sparselex.base.errors import UserError
from sparselex.explain import explain as walk
from sparselex.explain import workers as module
from sparselex.explain.config import ExplainConfig
from sparselex.explain.workers import FEW, Workers, n_workers
from tests.support.planted import PlantedIndex

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes share memory on Linux alone")


def square(number):
    if number == 13:
        raise UserError("The number 13.", "another", "choose one.")
    if number == 99:
        os._exit(1)
    return number**2, os.getpid()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_results_are_those_of_one_process(n):
    with Workers(square, n) as workers:
        for size in (0, 1, 2, 7):
            assert [value for value, _ in workers.map(list(range(size)))] == [k**2 for k in range(size)]
        own = {process for _, process in workers.map(list(range(10)))}
    assert len(own) == n and (os.getpid() in own) == (n == 1)


@pytest.mark.parametrize("n", [1, 2])
def test_what_was_started_is_done_meanwhile_or_when_asked_for(n, tmp_path):
    def touch(name):
        (tmp_path / name).touch()
        return name

    with Workers(touch, n) as workers:
        results = workers.start(["a", "b", "c"])
        deadline = time.monotonic() + 20
        while n > 1 and len(list(tmp_path.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) == (3 if n > 1 else 0)
        assert results() == ["a", "b", "c"] and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_raised_is_raised_here_and_work_goes_on(n):
    with Workers(square, n) as workers:
        with pytest.raises(UserError, match="The number 13"):
            workers.map([12, 13])
        assert workers.map([3])[0][0] == 9


def test_a_process_that_dies_is_told_of():
    with Workers(square, 2) as workers, pytest.raises(UserError, match="ended without an answer"):
        workers.map([1, 99])


@pytest.mark.parametrize("idle", [True, False])
def test_one_that_is_killed_between_two_batches_is_told_of(idle):
    with Workers(square, 2) as workers:
        for _, process in workers.map([1, 2]):
            os.kill(process, signal.SIGKILL)
            while idle and alive(process):
                time.sleep(0.01)
        with pytest.raises(UserError, match="ended without an answer"):
            workers.map([3, 4])


def test_processes_end_with_their_parent(monkeypatch):
    """The parent is killed: its children see it after a while, though no pipe tells them."""
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    told, tell = os.pipe()
    parent = os.fork()
    if not parent:
        with Workers(square, 2) as workers:
            os.write(tell, " ".join(str(process) for _, process in workers.map([1, 2])).encode())
            os.kill(os.getpid(), 9)
    os.waitpid(parent, 0)
    children, deadline = os.read(told, 100).decode().split(), time.monotonic() + 20
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2 and not any(alive(child) for child in children)


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_few_items_are_no_work_for_many():
    assert n_workers(FEW - 1) == 1 and 1 <= n_workers(FEW) <= len(os.sched_getaffinity(0))


def test_a_walk_writes_the_same_whatever_the_number(tmp_path, monkeypatch):
    index, found = PlantedIndex(), []
    for n in (1, 2, 3):
        monkeypatch.setattr(walk, "n_workers", lambda _, n=n: n)
        folder = tmp_path / str(n)
        folder.mkdir()
        walk.explain(index, ExplainConfig(), folder / "w.sqlite", folder / "x", inputs={"index": index.id})
        store = walk.ExplanationStore(folder / "w.sqlite")
        said = [store.of_latent("planted", latent) for latent in range(5)]
        judged = [store.judgements("planted", latent) for latent in range(5)]
        found.append((said, store.scores("planted"), judged, (folder / "x" / "figures.json").read_bytes()))
    assert found[0] == found[1] == found[2] and found[0][1]
