"""`sparselex`: the door where a user's mistake becomes one message and exit code 2."""

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from sparselex.base.errors import UserError
from sparselex.cli.verbs import Verbs

HELP = (
    "Turn a language model into a graded dictionary of its features.\n\n"
    "Start with `sparselex demo`. A workspace is one folder that holds everything; a run is one dictionary at one "
    "place of one model. The stages of a run are harvest, train (or sweep and use, or import), index, explain, "
    "evaluate (and diff, for two models); then report or serve."
)

app = typer.Typer(
    name="sparselex",
    cls=Verbs,
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"sparselex {version('sparselex')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the log of what happens inside.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line; `arguments` in place of those that the program was started with."""
    try:
        app(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; finished work is kept, run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
