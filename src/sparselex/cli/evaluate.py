"""`sparselex evaluate`: dictionary and model in, figures out."""

from sparselex.cli.options import JsonOption, RunOption, WorkspaceArgument, print_json


def evaluate(workspace: WorkspaceArgument, run: RunOption = "main", json: JsonOption = False) -> None:
    """Measure the dictionary on held-out documents, beside neurons and principal components, and update the report."""
    from sparselex.base.workspace import Workspace
    from sparselex.evaluate.report import print_report, write_report
    from sparselex.recipes.pipeline import Pipeline

    opened = Workspace(workspace)
    Pipeline.open(opened, run).evaluate()
    found = write_report(opened)
    if json:
        print_json(found.to_json())
    else:
        print_report(found)
