"""`sparselex compare`: two dictionaries of a workspace beside each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from sparselex.atlas.compare.records import SAME, Cell, Comparison, cell_of
from sparselex.atlas.config import CompareConfig
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, RUN, WORKSPACE
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.recipes.comparing import compare_all, compare_with

WITH = own(
    "others",
    list[str],
    typer.Option("--with", metavar="RUN", help="The run that it is compared with; of several, all with each other."),
)


class CompareOptions(CompareConfig):
    """Lay the dictionaries of two indexed runs beside each other: pairs that are alike, what only one has, and what one
    has in several parts; and what explanations say of the pairs."""


def act(values: dict[str, Any], *, workspace: Path, run: str, others: list[str], json: bool) -> None:
    """Compare, and say what came out."""
    config = CompareOptions.parse(values, "the options of compare", names=flags(CompareOptions)).part(CompareConfig)
    opened = Workspace(workspace)
    if len(others) == 1:
        _say(opened, compare_with(opened, run, others[0], config).summary, json=json)
        return
    found = {pair: one.summary for pair, one in compare_all(opened, [run, *others], config).items()}
    if json:
        print_json([one.to_json() for one in found.values()])
        return
    console_of(None).print(_table([cell_of(one) for one in found.values()]))
    print(f"sparselex serve {opened.typed} shows them at /runs/{run}/compare")


def _table(cells: Sequence[Cell]) -> WideTable:
    """A row for every two runs, each number with what chance alone gives."""
    who = list(dict.fromkeys(name for cell in cells for name in cell.words))
    columns = ("run", "site", "beside", "site", "pairs by", "alike", *(f"explanations by {name}" for name in who))
    table = WideTable("every two runs; in brackets what chance alone gives", columns)
    for cell in cells:
        words = (_beside(cell.words.get(name)) for name in who)
        table.add_row(cell.a, cell.sites[0], cell.b, cell.sites[1], cell.measure, _beside(cell.matched), *words)
    return table


def _beside(figure: Figure | None) -> str:
    return "" if figure is None else f"{number(figure.value, 3)} ({number(figure.null, 3)})"


def _say(opened: Workspace, found: Comparison, *, json: bool) -> None:
    """What came out of one comparison."""
    if json:
        print_json(found.to_json())
        return
    run, other = found.a.run, found.b.run
    for name, one in found.measures.items():
        only = f"only in {run} {one.n_only['a']:,}, only in {other} {one.n_only['b']:,}"
        above = f"{one.n_alike:,} of {one.n_pairs:,} pairs above {number(one.matched_null_95, 3)} (95 % of the null)"
        print(f"{name}: {above}, {one.n_same:,} at {SAME:g} or more, {one.n_mutual or 0:,} mutual nearest; {only}")
        for who, said in one.words.items():
            print(f"  explained by {who}: {said.n_explained:,} of {said.n_pairs:,} pairs; {found.alike(name, who)}")
    for name, why in found.missing.items():
        print(f"{name}: not measured, {why}")
    if found.a.n_split is not None:
        print(f"in parts: {found.a.n_split:,} of {run} in {other}, {found.b.n_split or 0:,} of {other} in {run}")
    print(f"sparselex serve {opened.typed} shows them at /runs/{run}/compare/{other}")


compare = command(CompareOptions, act, WORKSPACE, RUN, WITH, JSON)
