"""A small workspace with a transcoder of the embedded model's MLP."""

from pathlib import Path

from sparselex.base.workspace import Workspace
from sparselex.recipes.graphs import GraphOptions, trace_prompt
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


def traced_workspace(folder: Path) -> Workspace:
    """With an index, and the graph `prompt`, of which hardly anything was pruned."""
    workspace = graph_workspace(folder, index=True)
    trace_prompt(workspace, GraphOptions(prompt=PROMPT, name="prompt", node_share=0.98, n_checked=4))
    return workspace
