"""`sparselex push`: a dictionary to a Hugging Face repository."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.formats import plain
from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.showing import print_json


def push(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="The repository (owner/name); made if need be.")],
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose dictionary is sent.")] = MAIN,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Send a run's dictionary to a Hugging Face repository, as SAELens loads it, with a card made from the report."""
    from sparselex.recipes.pushing import push as sent

    found = sent(Workspace(workspace), run, repository, private=private, dry_run=dry_run)
    if json:
        print_json(found.to_json())
        return
    for name, n_bytes in found.files.items():
        print(f"{n_bytes:>13,}  {name}")
    if dry_run:
        print(plain(found.card))
        print(f"Nothing was sent. Without --dry-run this goes to {found.repository}.")
    else:
        print(f"{found.address}")
