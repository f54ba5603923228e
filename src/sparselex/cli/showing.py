"""How what a stage made is shown: as a table where it has one, and in one line."""

import json
from typing import Any

from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.formats import plain


def show(shown: Config, line: str) -> None:
    """Print the table of a record, if it has one, and the line that says what came out; an empty one is not printed."""
    if not isinstance(shown, Manifest):  # tables are not loaded for what never has one
        from sparselex.cli.tables import TABLES

        table = TABLES.get(type(shown))
        if table:
            table(shown)
    if line:
        print(plain(line))


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
