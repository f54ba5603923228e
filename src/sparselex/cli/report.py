"""`sparselex report`: the table of figures."""

from sparselex.cli.options import JsonOption, WorkspaceArgument, print_json


def report(workspace: WorkspaceArgument, json: JsonOption = False) -> None:
    """Print the figures of a workspace with intervals, nulls and controls; the same records are in report.json."""
    from sparselex.base.workspace import Workspace
    from sparselex.cli.tables import print_report
    from sparselex.evaluate.report import write_report

    found = write_report(Workspace(workspace))
    if json:
        print_json(found.to_json())
    else:
        print_report(found)
