"""What people said as files that travel: CSV for tables, JSON for programs, each row or object one answer."""

import csv
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.formats import guarded, unguarded
from sparselex.base.reading import parse_json
from sparselex.explain.ratings.records import Rating
from sparselex.explain.ratings.store import FIELDS

A = TypeVar("A", bound=Config)

MOST_BYTES = 2**28
"""A longer file is none of ours."""


def to_text(answers: Sequence[Config], kind: str, fields: Sequence[str] = FIELDS) -> str:
    """Answers (ratings, where no other `fields` are named) as the text of a file of a kind, `.csv` or `.json`. Raises
    `UserError` for another."""
    rows = [one.to_json() for one in answers]
    if _checked(kind) == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    file = io.StringIO()
    writer = csv.DictWriter(file, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: guarded(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    )
    return file.getvalue()


def from_file(path: Path) -> list[Rating]:
    """The ratings in a file. Raises like `answers_from`."""
    return answers_from(path, Rating)


def answers_from(path: Path, kind_of: type[A]) -> list[A]:
    """The answers of a kind in a file. Raises `UserError` for a file that is none, or a row that is no such answer."""
    kind = _checked(path.suffix)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _unreadable(path, f"is longer than {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
        rows = parse_json(text) if kind == ".json" else [*map(_cells, csv.DictReader(io.StringIO(text)))]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable(path, "is no table of ratings")
    return [kind_of.parse(_typed(row, kind_of), f"row {number} of {path}") for number, row in enumerate(rows, 1)]


def _cells(row: dict) -> dict:
    """A row of a table as it was before it became one; cells beyond the named columns are a list."""
    return {name: unguarded(value) if isinstance(value, str) else value for name, value in row.items()}


def _typed(row: dict, kind_of: type[Config]) -> dict:
    """Numbers of a table of texts, and nothing where a number may be left out."""
    found = dict(row)
    for name, field in kind_of.model_fields.items():
        number = next((one for one in (int, float) if one in _types(field.annotation)), None)
        if number is None or not isinstance(found.get(name), str):
            continue
        if not found[name] and NoneType in _types(field.annotation):
            found[name] = None
            continue
        with suppress(ValueError):  # told by the record, with the field's name
            found[name] = number(found[name])
    return found


def _types(annotation: Any) -> set[Any]:
    """A type and all that it is made of."""
    return {annotation}.union(*map(_types, get_args(annotation)))


def _checked(kind: str) -> str:
    if kind not in (".csv", ".json"):
        raise UserError(f"Ratings were asked for as {kind!r}.", "a file that ends in .csv or .json", "name it so.")
    return kind


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"{path} {why}.", "a file that `sparselex ratings --export` wrote", "check the path.")
