"""A small real run: the embedded model, a few modules of text, a dictionary trained for seconds."""

from pathlib import Path
from typing import Any

from sparselex.activations.source import Batch
from sparselex.activations.store import ActivationStore
from sparselex.base.workspace import Workspace
from sparselex.recipes.config import RunConfig, new_run
from sparselex.recipes.run import Run

MARKUP = '<script>alert("x")</script> &amp; "><img src=x onerror=alert(1)> <b>bold</b> 🤷🏽‍♀️ é\n'

TRAINING: dict[str, Any] = {"expansion": 0.5, "k": 8, "n_tokens": 60_000}
"""A dictionary that takes seconds."""


def write_documents(folder: Path, n: int = 40) -> Path:
    """`n` short documents, some full of markup and emoji, so that they show up in examples."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        body = "".join(f"def function_{number}_{i}(self, value):\n    return value + {i}\n\n" for i in range(12))
        (folder / f"doc-{number:03d}.py").write_text((MARKUP * 6 if number % 4 == 0 else "") + f"# {number}\n" + body)
    return folder


def small_config(
    text: Path, training: dict[str, Any] | None = None, *, model: str = "embedded", **options: Any
) -> RunConfig:
    """What a run of seconds reads; `training` are the options of its dictionary."""
    return new_run(model, str(text), n_ctx=64, **options).with_stage("train", training or TRAINING)


def small_run(folder: Path, training: dict[str, Any] | None = None, **options: Any) -> Run:
    """A run that has not begun, in a new workspace with a text of its own under `folder`."""
    config = small_config(write_documents(folder / "text"), training, **options)
    return Run.create(Workspace.create(folder / "w"), "main", config)


def build_all(workspace: Workspace, config: RunConfig, name: str = "main") -> Run:
    """Every stage of one run."""
    run = Run.create(workspace, name, config)
    for verb in ("train", "index", "explain", "evaluate"):
        run.do(verb)
    return run


def values_of(run: Run) -> dict[str, float | None]:
    """The figures of a run's evaluation by name."""
    return {figure.name: figure.value for figure in run.do("evaluate").figures}


def shards(store: ActivationStore) -> list[Batch]:
    """Every shard of a store whole, in corpus order."""
    return [store.piece(number, 0, size) for number, size in enumerate(store.shard_sizes)]
