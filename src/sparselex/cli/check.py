"""`sparselex check`: is everything in a workspace what was written?"""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.check import check_workspace
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace
from sparselex.cli.showing import print_json
from sparselex.explain.store import check_rows


def check(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read everything in a workspace and compare it with its checksums; exit code 1 if something is wrong."""
    found = []
    for one in check_workspace(Workspace(workspace), check_rows):
        found.append(one)
        if not json:
            said = (
                f"{one.fault}\n  to do: {one.todo}"
                if one.fault
                else f"{one.n_files} files, {one.n_bytes:,} bytes: good"
            )
            print(plain(f"{one.place}: {said}"), flush=True)
    faults = [one for one in found if one.fault]
    if json:
        print_json([one.to_json() for one in found])
    else:
        print(
            f"{len(faults)} of {len(found)} are not as they were written."
            if faults
            else "Everything is as it was written."
        )
    if faults:
        raise typer.Exit(1)
