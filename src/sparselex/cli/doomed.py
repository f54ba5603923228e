"""`sparselex recipe doomed`: features of activations that are no features of the model, as experiments."""

from pathlib import Path
from typing import Any

import typer

from sparselex.base.figures import Figure
from sparselex.base.formats import counted, number, plain
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.evaluate.doomed.config import LEAST_SEEDS, QUICK, DoomedConfig
from sparselex.evaluate.doomed.records import CHANCE_95, Doomed, ExampleFound, MethodRow, meaning
from sparselex.evaluate.doomed.words import called

QUICKLY = own(
    "quick",
    bool,
    typer.Option("--quick", help="A first look, one to two minutes of one core; options that are given still hold."),
    False,
)
REPLACE = own(
    "replace", bool, typer.Option("--replace", help="Replace examples that have another configuration."), False
)

SUPPORTED = {"yes": "borne out", "partly": "borne out in part", "no": "not borne out"}
"""What is said of a claim."""


class DoomedOptions(DoomedConfig):
    """Run the examples of "Activation space interpretability may be doomed" (Chughtai and Bushnaq 2025).

    Five small models whose computation is known, so that what a dictionary of one layer's activations finds can be
    held against it: beside what is found with the help of gradients, and beside as many random directions. Each ends
    in a verdict that is made from its figures. Needs no model and no text. What is finished is kept: given again, the
    command goes on where it was.
    """


def act(values: dict[str, Any], *, workspace: Path, quick: bool, replace: bool, json: bool) -> None:
    """Run the examples and print them."""
    given = {**QUICK, **values} if quick else values
    options = DoomedOptions.parse(given, "the options of recipe doomed", names=flags(DoomedOptions))
    with created(workspace) as opened:
        from sparselex.recipes.doomed import doomed as run

        found = run(opened, options.part(DoomedConfig), replace=replace)
    if json:
        print_json(found.to_json())
        return
    print_doomed(found)
    print(f"sparselex serve {opened.typed} shows it at /doomed")


def print_doomed(found: Doomed) -> None:
    """Every example: its claim, its figures, its verdict."""
    console = console_of(None)
    for one in found.examples:
        console.print(_table(one))
        for figure in one.facts:
            console.print(plain(f"{_said(figure)}: {meaning(figure)}."), highlight=False)
        console.print(plain(f"The claim: {one.claim}"), highlight=False)
        console.print(plain(f"{SUPPORTED[one.supported].capitalize()}. {one.verdict}\n"), highlight=False)
    if found.n_seeds < LEAST_SEEDS:
        console.print(plain(f"No intervals: {counted(found.n_seeds, 'run')}, {LEAST_SEEDS} needed."), highlight=False)
    if found.shortened:
        console.print(plain(f"A first look, and no result: {', '.join(found.shortened)}."), highlight=False)


def _table(one: ExampleFound) -> WideTable:
    shown = list(one.measures)
    more = lambda name: ("95 %", "null") if name in one.drawn else ()
    columns = [column for name in shown for column in (called(name), *more(name))]
    table = WideTable(one.title, ("method", "sees", *columns))
    for row in one.rows:
        cells = [cell for name in shown for cell in _cells(row, name, whole=name in one.drawn)]
        table.add_row(row.called, row.sees, *cells)
    return table


def _cells(row: MethodRow, name: str, *, whole: bool) -> list[str]:
    figure = row.figures.get(name)
    if figure is None or figure.value is None:
        return ["", "", ""] if whole else [""]
    if not whole:
        return [number(figure.value, 3)]
    ends = "" if figure.ci_low is None else f"{number(figure.ci_low, 3)} to {number(figure.ci_high, 3)}"
    high = figure.controls.get(CHANCE_95)
    null = "" if figure.null is None else f"{number(figure.null, 2)} ({number(high, 2)})"
    return [number(figure.value, 3), ends, null]


def _said(figure: Figure) -> str:
    name = called(figure.name.rpartition("/")[2])
    ends = "" if figure.ci_low is None else f" ({number(figure.ci_low, 3)} to {number(figure.ci_high, 3)})"
    return f"{name} {number(figure.value, 3)}{ends}"


doomed = command(DoomedOptions, act, WORKSPACE, QUICKLY, REPLACE, JSON)
