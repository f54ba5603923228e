"""`sparselex use`: one dictionary of a sweep, made a run of its own."""

from pathlib import Path
from typing import Annotated

import typer


def use(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dictionary, by its name in the sweep's table.")],
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose sweep it is.")] = "main",
    as_: Annotated[str | None, typer.Option("--as", metavar="RUN", help="Name of the new run. Default: NAME.")] = None,
) -> None:
    """Make a dictionary of a run's sweep the dictionary of a new run, to be indexed, explained and evaluated."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.run import Run
    from sparselex.recipes.work.sweep import use as make_run

    new = make_run(Run.open(Workspace(workspace), run), name, as_ or name)
    print(f"run {new.name}: `sparselex index {new.workspace.typed} --run {new.name}` goes on from here")
