"""Rows of strangers' files: JSON by lines, compressed or not, whole JSON, and small files of text."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparselex.base.errors import UserError
from sparselex.base.reading import parse_json, regular
from sparselex.convert.checked import Row

LONGEST_LINE, MOST_BYTES, MOST_UNPACKED = 1 << 26, 1 << 28, 1 << 32
"""Bytes of a line, of a file that is read whole, and of all lines of a file when they are unpacked: beyond these it is
damaged, or no file of explanations."""

LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def is_lines(path: Path) -> bool:
    """Whether a file has a JSON value on each line, by the ending of its name."""
    return path.name.lower().endswith(LINES)


def rows_in(path: Path) -> Iterator[Row]:
    """The objects in a file: one a line, or those of a JSON list, or the one that it is. Raises `UserError` for a file
    that is damaged."""
    if is_lines(path):
        yield from _by_line(path)
        return
    value = whole_json(path)
    if not isinstance(value, list):
        yield Row(value, str(path))
        return
    for number, one in enumerate(value):
        yield Row(one, f"{path}, entry {number}")


def whole_json(path: Path) -> Any:
    """The JSON value that a file is. Raises `UserError` where it is none, or too large."""
    try:
        return parse_json(whole_text(path))
    except ValueError as error:
        raise damaged(path, error, "JSON") from None


def whole_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file of at most `most` bytes. Raises `UserError` where it is larger, or no UTF-8."""
    try:
        with open(regular(path), "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise damaged(path, f"it is longer than {most:,} bytes", "a file of explanations")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, _words(error), "text in UTF-8") from None


def _by_line(path: Path) -> Iterator[Row]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(regular(path), "rb") as file:
            number = size = 0
            while line := file.readline(LONGEST_LINE + 1):
                number, size = number + 1, size + len(line)
                if len(line) > LONGEST_LINE:
                    raise damaged(path, f"line {number} is longer than {LONGEST_LINE:,} bytes", "lines of JSON")
                if size > MOST_UNPACKED:
                    raise damaged(path, f"its lines are longer than {MOST_UNPACKED:,} bytes", "a file of explanations")
                if line.strip():
                    yield Row(parse_json(line.decode("utf-8-sig")), f"{path}, line {number}")
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise damaged(path, _words(error), "lines of JSON") from None


def damaged(path: Path, why: object, expected: str) -> UserError:
    """What is said of a file that is not as its project writes it."""
    return UserError(f"{path} cannot be read: {why}.", expected, "check the path, or fetch the file again.")


def _words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 at byte {error.start:,}"
    return getattr(error, "strerror", None) or str(error)
