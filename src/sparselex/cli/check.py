"""`sparselex check`: is everything in a workspace what was written?"""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.check import Checked, check_workspace
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace
from sparselex.cli.showing import print_json
from sparselex.explain.store import check_rows
from sparselex.server.notes.store import NoteStore


def check(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read everything in a workspace and compare it with its checksums; exit code 1 if something is wrong. Unfinished
    work is named, and is nothing wrong."""
    found = []
    for one in check_workspace(Workspace(workspace), _read_rows):
        found.append(one)
        if not json:
            print(plain(f"{one.place}: {_said(one)}"), flush=True)
    faults, looked_at = [one for one in found if one.fault], [one for one in found if not one.unfinished]
    if json:
        print_json([one.to_json() for one in found])
    else:
        print(
            f"{len(faults)} of {len(looked_at)} are not as they were written."
            if faults
            else "Everything that is finished is as it was written."
            if len(looked_at) < len(found)
            else "Everything is as it was written."
        )
    if faults:
        raise typer.Exit(1)


def _read_rows(path: Path) -> None:
    check_rows(path)
    NoteStore(path).everything()


def _said(one: Checked) -> str:
    if one.fault:
        return f"{one.fault}\n  to do: {one.todo}"
    return one.unfinished or f"{one.n_files} files, {one.n_bytes:,} bytes: good"
