"""`sparselex controls`: a run's explanations against those of its controls."""

import sys
from pathlib import Path
from typing import Any

from sparselex.base.errors import UserError
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags
from sparselex.cli.showing import print_json, show
from sparselex.cli.stages import JSON, REPLACE, RUN, WORKSPACE
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.option import option_of
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.stages.controls import Controls


def act(values: dict[str, Any], *, workspace: Path, run: str, replace: bool, json: bool) -> None:
    """Make the controls that are not there, compare, and print one table."""
    opened = Workspace(workspace)
    folder = RunFolder.open(opened, run)
    stage = folder.stage(Controls.verb, names=flags(Controls), **_options(values, replace))
    stage.check_explained(folder)  # type: ignore[attr-defined]
    if not folder.is_done(stage):
        from sparselex.recipes.run import Run

        folder = Run(opened, run, folder.config, goes_on=folder.goes_on)
        folder.do(stage, replace=replace, more={"say": _say})
    shown: Any = stage.shown(folder)
    if json:
        print_json(shown.to_json())
    else:
        show(shown, stage.line(folder, shown))


def _options(values: dict[str, Any], replace: bool) -> dict[str, Any]:
    """The options of the stage; those of `explain --llm` apart from its own, by whether they decide what comes out."""
    own = {name: value for name, value in values.items() if name in ("kinds", "seed")}
    asks = {name: value for name, value in values.items() if name not in own}
    if asks and "llm" not in asks:
        raise UserError(
            f"{', '.join(flags(Ask)[name] for name in asks)} {'were' if len(asks) > 1 else 'was'} given without --llm.",
            "options of language models beside --llm URL",
            "add --llm and --llm-model, or leave them out.",
        )
    if asks:
        whole = Ask.parse(asks, "the options of controls", names=flags(Ask)).to_json()
        passing = {name for name in asks if option_of(Ask.model_fields[name]).in_passing}
        own |= {"ask": {name: whole[name] for name in asks if name not in passing}}
        own |= {"ask_passing": {name: whole[name] for name in passing}}
    return own | ({"anew": True} if replace else {})


def _say(words: str) -> None:
    print(plain(words), file=sys.stderr, flush=True)


controls = command(Controls, act, WORKSPACE, RUN, REPLACE, JSON, beside=Ask)
