"""`sparselex explain`: feature records in, explanations with scores out."""

from sparselex.cli.options import JsonOption, RunOption, WorkspaceArgument, print_json


def explain(workspace: WorkspaceArgument, run: RunOption = "main", json: JsonOption = False) -> None:
    """Explain every feature by a rule, or abstain, and score each rule on held-out documents."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline

    summary = Pipeline.open(Workspace(workspace), run).explain()
    if json:
        print_json(summary.to_json())
    else:
        print(summary)
