"""`sparselex recipe`: whole runs by name, and what an unknown name is told."""

from typing import Annotated

import typer

from sparselex.base.formats import plain
from sparselex.base.registry import Registry, summary

RECIPES = {
    "monosemanticity": "sparselex.cli.monosemanticity:monosemanticity",
    "doomed": "sparselex.cli.doomed:doomed",
}
"""Whole runs that are verbs of two words, with the addresses of their commands."""

DESCRIBED = {
    "monosemanticity": "sparselex.cli.monosemanticity:MonosemanticityOptions",
    "doomed": "sparselex.cli.doomed:DoomedOptions",
}
"""Addresses of what has their docstrings."""


def recipe(
    name: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME] [WORKSPACE]", help="The recipe, and where to make it.")
    ] = None,
) -> None:
    """List the recipes: whole runs, of which each is a verb of two words.

    `sparselex recipe NAME --help` has the options of one.
    """
    if name:
        raise Registry("recipe", dict(RECIPES)).unknown(name[0])
    for one, address in DESCRIBED.items():
        first = " ".join(summary(address).partition("\n\n")[0].split())
        print(plain(f"sparselex recipe {one} WORKSPACE: {first}"))
