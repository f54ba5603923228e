"""`sparselex demo`: the whole pipeline and its control, then the browser."""

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import typer

from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import show
from sparselex.cli.stages import created
from sparselex.evaluate.report import write_report
from sparselex.recipes.demo import Demo, plans
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.effects import Effects
from sparselex.recipes.stages.index import Index
from sparselex.server.beside import Beside

FOLDER = own("workspace", Path, typer.Argument(metavar="[WORKSPACE]", help="The workspace folder."), Path("workspace"))


def act(values: dict[str, Any], *, workspace: Path) -> None:
    """Take every stage, print the report, and serve it."""
    demo = Demo.parse(values, "the options of the demo", names=flags(Demo))
    with contextlib.ExitStack() as server, created(workspace) as opened:
        beside = server.enter_context(Beside(opened, demo.port)) if demo.serve else None
        _make(opened, demo, beside)
        show(write_report(opened), "")
        if not opened.has(MAIN, Effects.makes):
            print(f"\nWhether the model uses each feature (two minutes): {_command()} effects {opened.typed}")
        if beside:
            beside.serve()
        else:
            print(f"\nBrowse it with: {_command()} serve {opened.typed}")


def _make(workspace: Workspace, demo: Demo, beside: Beside | None) -> None:
    """Take every stage; the browser is there as soon as there is something to be browsed."""
    found = plans(workspace, demo)
    if all(plan.is_done for plan in found):
        print("everything is done already")
        return
    from sparselex.recipes.work.demo import take_all

    def browse(run: str, stage: Stage) -> None:
        if beside and (run, stage.verb) == (MAIN, Index.verb):
            beside.start("what comes later fills in; reload a page to see it")

    take_all(found, replace=demo.replace, taken=browse)


def _command() -> str:
    """How this program was called, so that what is printed can be typed."""
    called = Path(sys.argv[0])
    if called.name != "sparselex":
        return f"{shlex.quote(sys.executable)} -m sparselex"
    return "sparselex" if shutil.which("sparselex") == str(called) else shlex.quote(str(called))


demo = command(Demo, act, FOLDER)
