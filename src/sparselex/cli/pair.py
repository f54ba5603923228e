"""`sparselex pair`: two dictionaries around an MLP, trained together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from sparselex.base.figures import Figure
from sparselex.base.formats import number, plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, RUN, WORKSPACE
from sparselex.cli.tables import console_of, interval
from sparselex.cli.wide import WideTable
from sparselex.evaluate.pairs.records import PairCard
from sparselex.recipes.pairs import PairOptions, pair_runs

REPLACE = own(
    "replace",
    bool,
    typer.Option("--replace", help="Replace a pair of other settings, and the runs that came of it."),
    False,
)


def act(values: dict[str, Any], *, workspace: Path, run: str, replace: bool, json: bool) -> None:
    """Train the pair beside its controls, and print what came of it."""
    options = PairOptions.parse(values, "the options of pair", names=flags(PairOptions))
    opened = Workspace(workspace)
    card = pair_runs(opened, run, options, replace=replace)
    if json:
        print_json(card.to_json())
        return
    print_card(card)
    print(plain(f"runs {card.runs[0]} and {card.runs[1]}, in {opened.path / 'runs'}"))
    print(plain(f"sparselex serve {opened.typed} shows the pair at /pairs/{card.name}"))


def print_card(card: PairCard) -> None:
    """What was trained, and the tables of figures."""
    console = console_of(None)
    for arm in card.arms:
        said = f"weight {arm.weight:g}, {arm.n_tokens:,} tokens, {arm.n_dead:,} latents silent at the end"
        console.print(plain(f"• {arm.words}: {said}"), highlight=False)
    title = f"{card.model}, {card.hooks[0]} into {card.hooks[1]}, over {card.n_tokens:,} test tokens"
    console.print(_table(title, card.own))
    console.print(_table("less those of the other pairs", card.differences))


def _table(title: str, figures: Sequence[Figure]) -> WideTable:
    controls = list(dict.fromkeys(name for figure in figures for name in figure.controls))
    table = WideTable(title, ("figure", "value", "95 % interval", "null", *controls, "n"))
    for figure in figures:
        table.add_row(figure.name.partition("/")[2], *_cells(figure, controls))
    return table


def _cells(figure: Figure, controls: list[str]) -> list[str]:
    if figure.value is None:
        return [f"not measured: {figure.failure}"]
    beside = [number(figure.controls.get(name), 3) for name in controls]
    return [number(figure.value, 3), interval(figure, ".3g"), number(figure.null, 3), *beside, f"{figure.n:,}"]


pair = command(PairOptions, act, WORKSPACE, RUN, REPLACE, JSON)
