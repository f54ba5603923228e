"""The verbs of a run on the command line: one for every stage of the table."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sparselex.base.files import remove
from sparselex.base.workspace import MAIN, MARK, Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json, show
from sparselex.recipes.config import Beginning
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.stage import Stage

WORKSPACE = own("workspace", Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder."))
# torchrun takes the beginning of its own --run-path for an ambiguous --run, even behind the script's name.
RUN = own("run", str, typer.Option("--run", "--run-name", help="Name of the run inside the workspace."), MAIN)
REPLACE = own(
    "replace",
    bool,
    typer.Option(
        "--replace",
        help="Replace what the run has made with other options, also a dictionary, and what other artifacts stand on; "
        "what would come out the same is not made again.",
    ),
    False,
)
JSON = own("json", bool, typer.Option("--json", help="Print JSON, for scripts."), False)


def verb(stage: type[Stage]) -> Any:
    """The command of one stage."""

    def act(values: dict[str, Any], **more: Any) -> None:
        act_stage(stage, values, **more)

    return command(stage, act, WORKSPACE, RUN, *([REPLACE] if stage.makes else []), JSON)


def act_stage(
    stage: type[Stage],
    values: dict[str, Any],
    *,
    workspace: Path,
    run: str,
    json: bool,
    replace: bool = False,
    more: dict[str, Any] | None = None,
) -> Any:
    """Take a stage with the options given, print what came out and return it; `more` goes to its work as it is."""
    begins = issubclass(stage, Beginning)
    with created(workspace) if begins else contextlib.nullcontext(Workspace(workspace)) as opened:
        taken, folder = take(stage, opened, run, values, replace=replace, more=more)
    if os.environ.get("RANK", "0") != "0":  # of several processes one speaks
        return None
    shown = taken.shown(folder)
    if json:
        print_json(shown.to_json())
    else:
        show(shown, taken.line(folder, shown))
    return shown


def take(
    stage_type: type[Stage],
    workspace: Workspace,
    name: str,
    values: dict[str, Any],
    *,
    replace: bool = False,
    more: dict[str, Any] | None = None,
) -> tuple[Stage, RunFolder]:
    """Take a stage with the options given, and give it with its run; PyTorch is loaded only if there is something to be
    done."""
    verb, names = stage_type.verb, flags(stage_type)
    stage: Stage
    if issubclass(stage_type, Beginning) and name not in workspace.begun():
        begins = stage_type.parse(values, f"the options of {verb}", names=names)
        stage, folder = begins, RunFolder.begin(workspace, name, begins)
    else:
        opened = RunFolder.open(workspace, name)
        stage = opened.stage(verb, names=names, **values)
        folder = opened.begun_anew(stage, values)
    if not folder.is_done(stage):
        from sparselex.recipes.run import Run

        folder = Run(workspace, name, folder.config, goes_on=folder.goes_on)
        folder.do(stage, replace=replace, more=more)
    return stage, folder


@contextlib.contextmanager
def created(path: Path) -> Iterator[Workspace]:
    """A workspace, made if need be; one that was made for a first stage that then failed is taken away again, with the
    folders that it was put in."""
    existed, missing = (path / MARK).exists(), [one for one in (path, *path.parents) if not one.exists()]
    workspace = Workspace.create(path)
    try:
        yield workspace
    except BaseException:
        if not existed and _is_empty(path):
            for entry in path.iterdir():
                remove(entry)
            for one in missing:
                with contextlib.suppress(OSError):  # another process may have put something there
                    one.rmdir()
        raise


def _is_empty(path: Path) -> bool:
    """Whether nothing lies in a workspace but its mark and folders without a file."""
    return all(entry == path / MARK or (entry.is_dir() and not entry.is_symlink()) for entry in path.rglob("*"))
