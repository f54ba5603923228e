"""A small workspace with a transcoder of the embedded model's MLP."""

from pathlib import Path

from sparselex.base.workspace import Workspace
from tests.support.small import small_run

PROMPT = "def function_3(self, value):\n    return value"


def graph_workspace(folder: Path, *, index: bool = False) -> Workspace:
    """Of the run `main`, trained for seconds."""
    sites = {"hook": "blocks.0.hook_mlp_in", "target": "blocks.0.hook_mlp_out"}
    run = small_run(folder, {"expansion": 2, "k": 8, "n_tokens": 40_000}, **sites)
    run.do("train")
    if index:
        run.do("index")
    return run.workspace
