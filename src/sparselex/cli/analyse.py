"""`sparselex analyse`: every analysis of a dictionary."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.formats import plain
from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.showing import print_json
from sparselex.recipes.analysing import analyse as take


def analyse(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    run: Annotated[str, typer.Option("--run", "--run-name", help="Name of the run inside the workspace.")] = MAIN,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMES", help="Analyses that are made; all of them, if left out."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace analyses that were made with other options.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Ask of a dictionary as a whole what "Towards Monosemanticity" (Bricken et al. 2023) asked of its own: every
    analysis that the run can have, each a verb of two words with options of its own.

    What is done is not done again, and what the run cannot have is left out with the reason.
    """
    opened = Workspace(workspace)
    names = [name for text in only or [] for one in text.split(",") if (name := one.strip())]
    found = take(opened, run, names, replace=replace, say=_say)
    if json:
        print_json({"made": found.lines, "left_out": found.left_out})
        return
    made = "1 analysis" if len(found.lines) == 1 else f"{len(found.lines)} analyses"
    less = f", {len(found.left_out)} left out" if found.left_out else ""
    print(plain(f"{made}{less}: `sparselex serve {opened.typed}` shows them at /runs/{run}/analyses."))


def _say(line: str) -> None:
    print(plain(line), file=sys.stderr, flush=True)
