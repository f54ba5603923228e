"""`sparselex`: the table of verbs, and the door where a user's mistake becomes one message and exit code 2."""

import logging
import sys
from typing import Annotated

import typer

from sparselex.base.errors import UserError
from sparselex.cli import (
    demo,
    diff,
    evaluate,
    explain,
    export,
    harvest,
    hooks,
    import_,
    index,
    report,
    serve,
    sweep,
    train,
)

app = typer.Typer(
    name="sparselex",
    help="Turn a language model into a graded dictionary of its features.\n\n"
    "Start with `sparselex demo`. A workspace is one folder that holds everything; a run is one dictionary on one "
    "hook of one model. The stages are harvest, train (or sweep, or import), index, explain, evaluate (and diff, for "
    "two models); then report or serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (demo, harvest, train, sweep, import_, export, index, explain, evaluate, diff, report, serve, hooks):
    name = verb.__name__.rsplit(".", 1)[-1]
    app.command(name.rstrip("_"))(getattr(verb, name))


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the log of what happens inside.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")


def main() -> None:
    """Entry point of the command line."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; finished work is kept, run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
