"""`sparselex`: the door where a user's mistake becomes one message and exit code 2."""

import io
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sparselex.base.errors import REFUSALS, ElsewhereError, UserError, no_memory, refusal
from sparselex.base.formats import plain
from sparselex.base.release import own_version
from sparselex.cli.verbs import Verbs
from sparselex.recipes.stage import IN_LINE

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
        print(f"sparselex {own_version()}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the log of what happens inside.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    log = logging.StreamHandler()
    log.addFilter(lambda record: not hasattr(record, IN_LINE))
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[log])


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line; `arguments` in place of those that the program was started with.

    A mistake ends with exit code 2, a fault of ours with 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal knows every character
            stream.reconfigure(errors="backslashreplace")
    try:
        _take(arguments)
    except UserError as error:
        _end(f"error: {error}" if _speaks(error) else "", 2)
    except KeyboardInterrupt:
        _end("\nstopped; finished work is kept, run the same command again to go on.", 130)
    except BrokenPipeError:  # whoever read has read enough: no finding, and no end of the work
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in REFUSALS:
            _end_in_fault(error)
        _end(f"error: {refusal(error)}", 2)
    except Exception as error:
        if said := no_memory(error):
            _end(f"error: {said}", 2)
        _end_in_fault(error)


def _take(arguments: list[str] | None) -> None:
    """Take a verb. Raises `BrokenPipeError` for a closed pipe, which the libraries below make an exit code."""
    try:
        app(arguments)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        if sys.stdout:  # there may be none
            sys.stdout.flush()  # here, where a closed pipe is noticed
        raise


def _speaks(error: UserError) -> bool:
    """Whether it is for this one of several processes to tell an error: what concerns all is told by the first, before
    they are connected by the first of each machine."""
    if isinstance(error, ElsewhereError):
        return os.environ.get("RANK", "0") == "0"
    distributed = sys.modules.get("torch.distributed")
    is_connected = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return is_connected or os.environ.get("LOCAL_RANK", "0") == "0"


def _end(words: str, code: int) -> NoReturn:
    if words:
        print(plain(words), file=sys.stderr)
    sys.exit(code)


def _end_in_fault(error: Exception) -> NoReturn:
    """Say that it is not the user's mistake, where it happened, and how we hear of it."""
    if logging.getLogger().isEnabledFor(logging.INFO):  # --verbose
        traceback.print_exception(error)
    *_, last = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "sparselex" in frame.filename] or [last]
    where = f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}, in {ours[-1].name}"
    said = f"{type(error).__name__}: {str(error)[:500]}"
    todo = "report it as an issue, with the command and what it prints as `sparselex --verbose VERB ...`."
    _end(f"error: This is a fault in sparselex ({where}): {said}\n  expected: a message that helps\n  to do: {todo}", 1)
