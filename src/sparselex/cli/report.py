"""`sparselex report`: the table of figures."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.workspace import Workspace
from sparselex.cli.showing import print_json, show
from sparselex.evaluate.report import write_report


def report(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Print the figures of a workspace with intervals, nulls and controls; the same records are in report.json."""
    found = write_report(Workspace(workspace))
    if json:
        print_json(found.to_json())
    else:
        show(found, "")
