"""Ratings as files that travel: CSV for tables, JSON for programs, each row or object one rating."""

import csv
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.reading import parse_json
from sparselex.explain.ratings.records import Rating
from sparselex.explain.ratings.store import FIELDS

MOST_BYTES = 2**28
"""A longer file is none of ours."""


def to_text(ratings: Sequence[Rating], kind: str) -> str:
    """Ratings as the text of a file of a kind, `.csv` or `.json`. Raises `UserError` for another."""
    rows = [one.to_json() for one in ratings]
    if _checked(kind) == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def from_file(path: Path) -> list[Rating]:
    """The ratings in a file. Raises `UserError` for a file that is none, or a row that is no rating."""
    kind = _checked(path.suffix)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _unreadable(path, f"is longer than {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
        rows = parse_json(text) if kind == ".json" else [*csv.DictReader(io.StringIO(text))]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _unreadable(path, "is no table of ratings")
    return [Rating.parse(_typed(row), f"row {number} of {path}") for number, row in enumerate(rows, 1)]


def _typed(row: dict) -> dict:
    """Numbers of a table of texts."""
    kinds = {"latent": int, "a_latent": int, "b_latent": int, "seconds": float}
    found = dict(row)
    for name, kind in kinds.items():
        if isinstance(found.get(name), str):
            with suppress(ValueError):  # told by the record, with the field's name
                found[name] = kind(found[name])
    return found


def _checked(kind: str) -> str:
    if kind not in (".csv", ".json"):
        raise UserError(f"Ratings were asked for as {kind!r}.", "a file that ends in .csv or .json", "name it so.")
    return kind


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"{path} {why}.", "a file that `sparselex ratings --export` wrote", "check the path.")
