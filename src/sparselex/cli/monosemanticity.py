"""`sparselex recipe monosemanticity`: Towards Monosemanticity from end to end, and its report."""

import os
import sys
from pathlib import Path
from typing import Any

import typer

from sparselex.base.errors import REFUSALS, UserError
from sparselex.base.files import write_file
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of
from sparselex.cli.wide import WideTable
from sparselex.evaluate.monosemanticity.found import claims_of, measured_in
from sparselex.evaluate.monosemanticity.records import ClaimFound
from sparselex.recipes.monosemanticity.config import QUICK, MonosemanticityConfig

REPORT = "monosemanticity.html"
"""File of the workspace that holds the report, unless `--report` says otherwise."""

QUICKLY = own(
    "quick",
    bool,
    typer.Option("--quick", help="A first look, on less text and less wide; options that are given still hold."),
    False,
)
REPLACE = own(
    "replace", bool, typer.Option("--replace", help="Make runs anew that were made with other options."), False
)
WRITTEN = own(
    "report",
    Path | None,
    typer.Option("--report", metavar="FILE", help=f"The report that is written. Left out, {REPORT} of the workspace."),
    None,
)
BROWSER = own(
    "browser",
    str,
    typer.Option("--browser", metavar="URL", help="Where the report's links lead: the address of `sparselex serve`."),
    "http://127.0.0.1:8321",
)

SAID = {"yes": "reproduced", "partly": "in part", "no": "not reproduced", "open": "not measured"}
"""What is said of a claim."""


class MonosemanticityOptions(MonosemanticityConfig):
    """Reproduce "Towards Monosemanticity" (Bricken et al. 2023) from end to end.

    Dictionaries of two models in three widths by the paper's recipe, a sweep of its coefficient, the same on shuffled
    weights, and every analysis of the paper; then a report that has our figures beside the paper's. What is finished is
    kept: given again, the command goes on where it was.
    """


def act(
    values: dict[str, Any],
    *,
    workspace: Path,
    quick: bool,
    replace: bool,
    report: Path | None,
    browser: str,
    json: bool,
) -> None:
    """Take every step, write the report, and print what came out."""
    given = {**QUICK, **values} if quick else values
    names = flags(MonosemanticityOptions)
    options = MonosemanticityOptions.parse(given, "the options of recipe monosemanticity", names=names)
    _check_written(report, browser)
    with created(workspace) as opened:
        from sparselex.recipes.monosemanticity.walk import monosemanticity as run

        made = run(opened, options.part(MonosemanticityConfig), replace=replace, say=_say)
    claims = claims_of(measured_in(opened, made.roles)[0], made.roles)
    to = report or opened.path / REPORT
    _write(opened, to, browser)
    if json:
        print_json({"made": made.to_json(), "claims": [one.to_json() for one in claims]})
        return
    print_claims(claims, made.shortened)
    print(plain(f"{to} is the report; `sparselex serve {opened.typed}` shows it at /monosemanticity"))


def print_claims(claims: list[ClaimFound], shortened: list[str]) -> None:
    """Every claim with its verdict."""
    table = WideTable("Towards Monosemanticity", ("claim", "here", "what the figures say"))
    for one in claims:
        table.add_row(one.title, SAID[one.reproduced], one.verdict)
    console_of(None).print(table)
    if shortened:
        console_of(None).print(plain(f"A first look, and no result: {'; '.join(shortened)}."), highlight=False)


def _check_written(report: Path | None, browser: str) -> None:
    """Raise `UserError` before hours of work for a report that could not be written behind them, or would lead
    nowhere."""
    if not browser.startswith(("http://", "https://")):
        raise UserError(f"--browser {browser} is no address.", "one that begins with http://", f"try http://{browser}.")
    if report is not None and (report.is_dir() or not os.access(report.absolute().parent, os.W_OK)):
        raise UserError(f"{report} cannot be written.", "a file in a folder to write to", "choose another.")


def _write(opened: Workspace, to: Path, browser: str) -> None:
    from sparselex.server.replication import Report

    text = Report(opened, browser).text()
    try:
        write_file(to, text.encode(errors="backslashreplace"))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise UserError(f"Writing {to} failed: {error.strerror}.", "a folder to write to", "choose another.") from None


def _say(words: str) -> None:
    print(plain(words), file=sys.stderr, flush=True)


monosemanticity = command(MonosemanticityOptions, act, WORKSPACE, QUICKLY, REPLACE, WRITTEN, BROWSER, JSON)
