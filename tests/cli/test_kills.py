"""Killed at a named moment, a demo that is given again ends in the bytes of an undisturbed one. `test_stops` stops
single verbs at every call."""

import importlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from sparselex.cli.main import main
from tests.support.command import done
from tests.support.contents import contents
from tests.support.small import write_documents

DEMO = [
    "--context",
    "64",
    "--tokens",
    "20000",
    "--expansion",
    "0.25",
    "--k",
    "4",
    "--no-twin",
    "--cached",
    "--no-serve",
]

MOMENTS = {
    "a shard is written": ("sparselex.activations.harvest", "_write", 1),
    "the run's ticket is written": ("sparselex.recipes.folder", "RunFolder.note_done", 2),
    "the evaluation is put in place": ("sparselex.base.staging", "_put_in_place", 6),
    "the report is written": ("sparselex.recipes.work.evaluate", "write_report", 1),
}
"""When the process kills itself: where the n-th call of a function begins."""


def run_until(moment: str, arguments: list[str], n_threads: int) -> None:
    """Run the command in a process that dies by SIGKILL at `moment`; bits of sums depend on the number of threads."""
    torch.set_num_threads(n_threads)
    module, name, n = MOMENTS[moment]
    owner, calls = importlib.import_module(module), 0
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    act = getattr(owner, last)

    def die(*given, **more):
        nonlocal calls
        calls += 1
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*given, **more)

    setattr(owner, last, die)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    main(arguments)


@pytest.fixture(scope="module")
def starting():
    """Starts processes that have PyTorch loaded and no threads yet: those of a forked one are not to be relied on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparselex.recipes.run"])
    return context.Process


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("kills") / "text")


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed demo leaves."""
    workspace = tmp_path_factory.mktemp("whole") / "w"
    done("demo", workspace, "--text", text, *DEMO)
    return contents(workspace)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_when(moment, starting, whole, text, tmp_path):
    arguments = ["demo", str(tmp_path / "w"), "--text", str(text), *DEMO]
    child = starting(target=run_until, args=(moment, arguments, torch.get_num_threads()))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"never reached: {moment}"
    done(*arguments)
    assert contents(tmp_path / "w") == whole
