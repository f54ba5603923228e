"""`sparselex evaluate synthetic`: dictionary types where the truth is known."""

from pathlib import Path
from typing import Any

import typer

from sparselex.base.figures import Figure
from sparselex.base.formats import number, plain
from sparselex.base.workspace import MAIN
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.evaluate.synthetic.config import QUICK, SyntheticConfig
from sparselex.evaluate.synthetic.records import HEADLINE, SHOWN, SyntheticReport, TypeRow

NAME = own("name", str, typer.Option("--name", help="Name of the set inside the workspace."), MAIN)
QUICKLY = own(
    "quick", bool, typer.Option("--quick", help="A small set of a minute; options that are given still hold."), False
)
REPLACE = own(
    "replace", bool, typer.Option("--replace", help="Replace a set of that name with another configuration."), False
)


_BESIDE = tuple(name for name in SHOWN if name not in (HEADLINE, "precision", "recall", "correlation"))
"""Measures beside the one that types are ranked by, as many as a console is wide; the page and JSON have all."""


class SyntheticOptions(SyntheticConfig):
    """Rank dictionary types on a synthetic set whose features are all known.

    Every type is trained on the same activations at the same number of active latents, with several seeds, and measured
    on held-out samples against the true features; beside it stand the truth itself, coded by pursuit, and random
    directions. What is trained is kept: given again, the command goes on where it was.
    """


def act(values: dict[str, Any], *, workspace: Path, name: str, quick: bool, replace: bool, json: bool) -> None:
    """Train, measure and print the table."""
    given = {**QUICK, **values} if quick else values
    options = SyntheticOptions.parse(given, "the options of evaluate synthetic", names=flags(SyntheticOptions))
    with created(workspace) as opened:
        from sparselex.evaluate.synthetic.synthetic import rank_types

        found = rank_types(opened, name, options.part(SyntheticConfig), replace=replace)
    if json:
        print_json(found.to_json())
        return
    print_ranking(found)
    print(f"sparselex serve {opened.typed} shows it at /synthetic/{name}")


def print_ranking(found: SyntheticReport) -> None:
    """The table of all types, with what it takes to read it."""
    console = console_of(None)
    console.print(plain(found.verdict), highlight=False)
    order = "best F1 first" if found.recoverable else "by name, not ranked"
    columns = ("type", "sparsity", HEADLINE, "95 % interval", *(name.replace("_", " ") for name in _BESIDE))
    size = f"{found.n_features:,} features in {found.d_in} dimensions, {found.d_sae:,} latents"
    title = f"{size}, {found.n_tokens:,} tokens; {order}"
    table = WideTable(title, columns)
    for row in (found.oracle, *found.types, *found.controls):
        table.add_row(*_cells(row))
    console.print(table)
    for figure in found.concordance.values():
        console.print(plain(f"{figure.name}: {_whole(figure)}. {figure.definition}."), highlight=False)
    for failure in (failure for row in found.types for failure in row.failures):
        console.print(plain(f"not trained: {failure.subject}: {failure.reason}"), highlight=False)


def _cells(row: TypeRow) -> list[str]:
    head = row.figures[HEADLINE]
    ends = "" if head.ci_low is None else f"{number(head.ci_low, 3)} to {number(head.ci_high, 3)}"
    beside = [number(row.figures[name].value, 3) for name in _BESIDE]
    return [row.kind, row.coefficient, number(head.value, 3), ends, *beside]


def _whole(figure: Figure) -> str:
    if figure.value is None:
        return f"not measured: {figure.failure}"
    ends = "" if figure.ci_low is None else f", {number(figure.ci_low, 3)} to {number(figure.ci_high, 3)}"
    return f"{number(figure.value, 3)}{ends} (null {number(figure.null, 3)})"


synthetic = command(SyntheticOptions, act, WORKSPACE, NAME, QUICKLY, REPLACE, JSON)
