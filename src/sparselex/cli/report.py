"""`sparselex report`: the table of figures."""

from sparselex.cli.options import JsonOption, WorkspaceArgument, print_json


def report(workspace: WorkspaceArgument, json: JsonOption = False) -> None:
    """Print the figures of a workspace with intervals, nulls and controls; the same records are in report.json."""
    from sparselex.base.workspace import Workspace
    from sparselex.evaluate import report as reports

    found = reports.write_report(Workspace(workspace))
    if json:
        print_json(found.to_json())
    else:
        reports.print_report(found)
