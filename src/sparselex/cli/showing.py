"""How what a stage made is shown: as a table where it has one, else in one line."""

import json
from typing import Any

from sparselex.atlas.records import ModelDiff, SweepReport
from sparselex.base.config import Config
from sparselex.cli.tables import print_diff, print_report, print_sweep
from sparselex.evaluate.report import Report

TABLES: dict[type[Config], Any] = {Report: print_report, ModelDiff: print_diff, SweepReport: print_sweep}
"""Records that have a table."""


def show(shown: Config, line: str) -> None:
    """Print a record as its table, or the line that stands for it."""
    table = TABLES.get(type(shown))
    if table:
        table(shown)
    else:
        print(line)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
