"""`sparselex compare`: two dictionaries of a workspace beside each other."""

from pathlib import Path
from typing import Any

import typer

from sparselex.atlas.compare.records import SAME
from sparselex.atlas.config import CompareConfig
from sparselex.base.formats import number
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, RUN, WORKSPACE
from sparselex.recipes.comparing import compare_with

WITH = own("other", str, typer.Option("--with", metavar="RUN", help="The run that it is compared with."))


class CompareOptions(CompareConfig):
    """Lay the dictionaries of two indexed runs beside each other: pairs that are alike, what only one has, and what one
    has in several parts."""


def act(values: dict[str, Any], *, workspace: Path, run: str, other: str, json: bool) -> None:
    """Compare, and say what came out."""
    config = CompareOptions.parse(values, "the options of compare", names=flags(CompareOptions)).part(CompareConfig)
    opened = Workspace(workspace)
    found = compare_with(opened, run, other, config).summary
    if json:
        print_json(found.to_json())
        return
    for name, one in found.measures.items():
        only = f"only in {run} {one.n_only['a']:,}, only in {other} {one.n_only['b']:,}"
        above = f"{one.n_alike:,} of {one.n_pairs:,} pairs above {number(one.matched_null_95, 3)} (95 % of the null)"
        print(f"{name}: {above}, {one.n_same:,} at {SAME:g} or more; {only}")
    for name, why in found.missing.items():
        print(f"{name}: not measured, {why}")
    if found.a.n_split is not None:
        print(f"in parts: {found.a.n_split:,} of {run} in {other}, {found.b.n_split or 0:,} of {other} in {run}")
    print(f"sparselex serve {opened.typed} shows them at /runs/{run}/compare/{other}")


compare = command(CompareOptions, act, WORKSPACE, RUN, WITH, JSON)
