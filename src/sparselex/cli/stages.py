"""The verbs of a run on the command line: one for every stage of the table."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json, show
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.stage import Stage

WORKSPACE = own("workspace", Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder."))
# torchrun takes the beginning of its own --run-path for an ambiguous --run, even behind the script's name.
RUN = own("run", str, typer.Option("--run", "--run-name", help="Name of the run inside the workspace."), MAIN)
JSON = own("json", bool, typer.Option("--json", help="Print JSON, for scripts."), False)


def verb(stage: type[Stage]) -> Any:
    """The command of one stage."""

    def act(values: dict[str, Any], *, workspace: Path, run: str, json: bool) -> None:
        with created(workspace) if stage.begins else contextlib.nullcontext(Workspace(workspace)) as opened:
            taken = take(stage, opened, run, values)
        if os.environ.get("RANK", "0") != "0":  # of several processes one speaks
            return
        shown = taken.stage.shown(taken.run)
        if json:
            print_json(shown.to_json())
        else:
            show(shown, taken.stage.line(taken.run, shown))

    return command(stage, act, WORKSPACE, RUN, JSON)


class Taken:
    """A stage that is done, and its run."""

    def __init__(self, stage: Stage, run: RunFolder):
        self.stage, self.run = stage, run


def take(stage_type: type[Stage], workspace: Workspace, name: str, values: dict[str, Any]) -> Taken:
    """Take a stage with the options given; PyTorch is loaded only if there is something to be done."""
    verb, names = stage_type.verb, flags(stage_type)
    if stage_type.begins and name not in workspace.begun():
        stage = stage_type.parse(values, f"the options of {verb}", names=names)
    else:
        stage = RunFolder.open(workspace, name).stage(verb, names=names, **values)
    if stage_type.begins:
        folder = RunFolder.create(workspace, name, stage.run_config())  # type: ignore[attr-defined]
    else:
        folder = RunFolder.open(workspace, name)
    if not folder.is_done(stage):
        from sparselex.recipes.run import Run

        folder = Run(workspace, name, folder.config, goes_on=folder.goes_on)
        folder.do(stage)
    return Taken(stage, folder)


@contextlib.contextmanager
def created(path: Path) -> Iterator[Workspace]:
    """A workspace, made if need be; one that was made for a first stage that then failed is taken away again."""
    existed = path.exists()
    workspace = Workspace.create(path)
    try:
        yield workspace
    except BaseException:
        if not existed and {entry.name for entry in path.iterdir()} <= {"sparselex.json"}:
            (path / "sparselex.json").unlink()
            path.rmdir()
        raise
