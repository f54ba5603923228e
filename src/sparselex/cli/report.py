"""`sparselex report`: the table of figures."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.errors import REFUSALS
from sparselex.base.workspace import Workspace
from sparselex.cli.showing import print_json, show
from sparselex.evaluate.report import report as gather
from sparselex.evaluate.report import write_report


def report(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    run: Annotated[
        str | None, typer.Option("--run", "--run-name", help="The run reported. Left out, main, kept in report.json.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Print the figures of a run with intervals, nulls and controls; the same records are in report.json."""
    opened = Workspace(workspace)
    found = gather(opened, run)
    if run is None:
        try:
            write_report(opened)
        except OSError as error:  # of a workspace that may only be read there is a report all the same
            if error.errno not in REFUSALS:
                raise
            print(f"report.json was not written: {error.strerror}.", file=sys.stderr)
    if json:
        print_json(found.to_json())
    else:
        show(found, "")
