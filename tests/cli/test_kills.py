"""Killed at a named moment, a command that is given again ends in the bytes of an undisturbed one."""

import importlib
import os
import signal
from pathlib import Path

import pytest

from sparselex.cli.main import main
from tests.support.command import done
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
    "the corpus is joined": ("sparselex.text.corpus", "_join", 1),
    "a shard is written": ("sparselex.activations.harvest", "_write", 1),
    "the activations are listed": ("sparselex.base.artifacts", "Staging.finish", 2),
    "the dictionary is written": ("sparselex.training.train", "write_dictionary", 1),
    "the dictionary is put in place": ("sparselex.base.artifacts", "Staging._put_in_place", 3),
    "the run's ticket is written": ("sparselex.recipes.folder", "RunFolder.note_done", 2),
    "the index's columns are joined": ("sparselex.features.latents", "ColumnWriter.finish", 1),
    "explanations are stored": ("sparselex.explain.store", "ExplanationStore.add", 2),
    "the evaluation is put in place": ("sparselex.base.artifacts", "Staging._put_in_place", 6),
    "the report is written": ("sparselex.recipes.work.evaluate", "write_report", 1),
}
"""When the process kills itself: where the n-th call of a function begins."""


def files_of(workspace: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(workspace): path.read_bytes()
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "sqlite" not in path.name
    }


def killed_at(moment: str, arguments: list[str]) -> None:
    """Run the command in a fork that dies by SIGKILL at `moment`."""
    module, name, n = MOMENTS[moment]
    child = os.fork()
    if child == 0:
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
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        main(arguments)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"never reached: {moment}"


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return write_documents(tmp_path_factory.mktemp("kills") / "text")


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory) -> dict[Path, bytes]:
    """What an undisturbed demo leaves."""
    workspace = tmp_path_factory.mktemp("whole") / "w"
    done("demo", workspace, "--text", text, *DEMO)
    return files_of(workspace)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_when(moment, whole, text, tmp_path):
    arguments = ["demo", str(tmp_path / "w"), "--text", str(text), *DEMO]
    killed_at(moment, arguments)
    done(*arguments)
    assert files_of(tmp_path / "w") == whole
