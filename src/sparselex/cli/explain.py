"""`sparselex explain`: by rules, or by a language model."""

import sys
from pathlib import Path
from typing import Any

import typer

from sparselex.base.errors import UserError
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, REPLACE, RUN, WORKSPACE, act_stage
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.stages.explain import Explain

DRY_RUN = own(
    "dry_run",
    bool,
    typer.Option("--dry-run", help="Say what a language model would be asked and what that costs; send nothing."),
    False,
)


def act(values: dict[str, Any], *, dry_run: bool, **more: Any) -> None:
    """Take the stage that the options name: with `--llm` the one that asks a language model."""
    asks = "llm" in values
    stage, other = (Ask, Explain) if asks else (Explain, Ask)
    foreign = [flags(other)[name] for name in values if name not in stage.model_fields]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)} {'were' if len(foreign) > 1 else 'was'} given {'beside' if asks else 'without'} "
            "--llm.",
            "options of language models beside --llm URL, and options of rules without it",
            "leave them out, or add --llm and --llm-model." if not asks else "leave them out, or leave out --llm.",
        )
    if dry_run:
        _estimate(values, asks, **more)
        return
    shown = act_stage(stage, values, more={"say": _say} if asks else None, **more)
    if asks and shown and shown.n_failed and not (shown.n_explained or shown.n_abstained):
        raise typer.Exit(2)


def _say(words: str) -> None:
    print(plain(words), file=sys.stderr, flush=True)


def _estimate(values: dict[str, Any], asks: bool, *, workspace: Path, run: str, json: bool, replace: bool) -> None:
    """Print what would be asked."""
    if not asks:
        raise UserError(
            "--dry-run was given without --llm.",
            "the address of a server, and the name of a model that it has",
            "add --llm URL and --llm-model NAME; rules cost nothing.",
        )
    opened = Workspace(workspace)
    folder = RunFolder.open(opened, run)
    stage = folder.stage(Ask.verb, names=flags(Ask), **values)
    folder.check_needs(stage)
    from sparselex.recipes.run import Run
    from sparselex.recipes.work.ask import estimate_run

    ledger = estimate_run(Run(opened, run, folder.config, goes_on=folder.goes_on), stage)  # type: ignore[arg-type]
    if json:
        print_json(ledger.to_json())
    else:
        print(ledger)


explain = command(Explain, act, WORKSPACE, RUN, REPLACE, DRY_RUN, JSON, beside=Ask)
