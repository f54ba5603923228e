"""Documents in files: plain text, JSON, JSON lines, tables and Parquet, compressed or not, alone or in folders."""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
import pyarrow.parquet

from sparselex.base.errors import UserError
from sparselex.base.reading import parse_json
from sparselex.text.documents import Document, Skipped
from sparselex.text.fields import Broken, columns_of, documents_of
from sparselex.text.folders import named, text_files
from sparselex.text.opening import CUT, Binary, ending_of, line_text, opened, opened_text, whole, whole_text

PART_LENGTH = 8_000
"""Characters in a part of a long plain text given alone: it has no documents of its own, so it is cut at blank
lines."""

_LONGEST_CELL = 2**31 - 1
"""Characters in a cell of a table: as many as its reader can be told."""


class Reading(NamedTuple):
    """How documents are found in what a source holds."""

    text_field: str = ""
    """Field of a record that holds its text, its tokens or its messages; empty for those that are looked for."""

    documents: Literal["file", "line"] = "file"
    """Whether a plain file is a document, or each of its lines."""


READING = Reading()
"""Where nothing is said of it."""

Found = Iterator[Document | Skipped]
"""Documents, and what was skipped among them."""


def file_documents(path: Path, how: Reading = READING) -> Found:
    """Documents of a file or of all files of a folder, in the order of their names. Raises `UserError` naming the file
    that cannot be read; in a folder, it is skipped."""
    return _folder(path, how) if path.is_dir() else _lone_file(path, how)


def _folder(folder: Path, how: Reading) -> Found:
    for name, path in text_files(folder):
        try:
            yield from _file(path, name, how)
        except UserError as error:
            yield Skipped("files that cannot be read as text", error.given)


def _lone_file(path: Path, how: Reading) -> Found:
    for item in _file(path, named(path.name), how):
        is_whole = ending_of(path) in READERS or how.documents == "line"
        if isinstance(item, Skipped) or is_whole or len(item.text) <= 2 * PART_LENGTH:
            yield item
        else:
            yield from (Document(f"{item.name}@{start}", part) for start, part in _parts(item.text))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(text):
        cuts = (text.find(mark, start + PART_LENGTH) + len(mark) for mark in ("\n\n", "\n"))
        end = next((cut for cut in cuts if start + PART_LENGTH < cut < start + 2 * PART_LENGTH), start + PART_LENGTH)
        yield start, text[start:end]
        start = end


def _file(path: Path, name: str, how: Reading) -> Found:
    try:
        yield from READERS.get(ending_of(path), _plain)(path, name, how)
    except (OSError, ValueError, csv.Error, *CUT) as error:
        raise UserError(
            f"The text file {path} cannot be read: {str(error).rstrip('.')}.",
            "UTF-8 text, a JSON list, JSON lines, CSV, TSV or Parquet, as it is or as .gz, .bz2 or .xz",
            "convert the file, or leave it out.",
        ) from None


def _plain(path: Path, name: str, how: Reading) -> Found:
    if how.text_field:
        raise UserError(
            f"The field {how.text_field} was asked for, and {path} is plain text.",
            "JSON, JSON lines, CSV, TSV or Parquet, whose records have fields",
            "leave --text-field out.",
        )
    with opened_text(path) as file:
        if how.documents == "line":
            yield from _records(map(_text_line, _lines(file)), path, name, how)
            return
        parts = whole_text(file).split("<|endoftext|>")
    if len(parts) == 1:
        yield Document(name, parts[0])
    else:  # a mark stands behind a document as well as between two
        yield from (Document(f"{name}#{number}", part) for number, part in enumerate(parts) if part.strip())


def _text_line(line: bytes) -> Any:
    try:
        return line_text(line)
    except ValueError as error:
        return Broken(str(error))


def _json(path: Path, name: str, how: Reading) -> Found:
    with opened_text(path) as file:
        text = whole_text(file)
    try:
        values = parse_json(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        return _jsonl(path, name, how)  # one value behind another: lines under the name of a whole
    return _records(values if isinstance(values, list) else [values], path, name, how)


def _jsonl(path: Path, name: str, how: Reading) -> Found:
    with opened_text(path) as file:
        yield from _records(map(_json_line, _lines(file)), path, name, how)


def _json_line(line: bytes) -> Any:
    try:
        return parse_json(line.decode())
    except ValueError as error:
        return Broken(str(error))


def _lines(file: Binary) -> Iterator[bytes]:
    return (line for line in file if line.strip())


def _table(path: Path, name: str, how: Reading) -> Found:
    """Rows of a table whose first line names its columns."""
    csv.field_size_limit(_LONGEST_CELL)
    # newline="" keeps the bytes: reading must not turn \r\n into \n. What is no UTF-8 becomes half characters, in the
    # rows where it stands.
    with (
        opened_text(path) as file,
        io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as text,
    ):
        start = text.tell()
        delimiter = _delimiter(path, text.readline())
        text.seek(start)
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = next(rows, None)
        if header is not None:
            columns_of(header, str(path), how.text_field)
            yield from _records(_rows(rows, header), path, name, how)


def _delimiter(path: Path, first: str) -> str:
    """Between the cells of a table; European spreadsheets write semicolons, for the comma is in their numbers."""
    return "\t" if ending_of(path) == ".tsv" else ";" if ";" in first and "," not in first else ","


def _rows(rows: Any, header: Sequence[str]) -> Iterator[Any]:
    """The rows of a `csv.reader` behind the `header`. One that cannot be read stands for each line that it takes: a
    quote that is never closed takes all that follow, and all of them are counted."""
    while True:
        before = rows.line_num
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            n_lines = rows.line_num - before
            taken = f"; a quote opened in line {before + 1} takes {n_lines:,} lines into one cell" * (n_lines > 1)
            yield from itertools.repeat(Broken(f"{error} in line {rows.line_num}{taken}"), n_lines)
            continue
        if len(row) != len(header):
            if row:
                yield Broken(f"it has {len(row)} cells, and the first line {len(header)}")
        elif any("\0" in cell for cell in row):
            yield Broken("it holds null bytes")
        else:
            yield dict(zip(header, row, strict=True))


def _parquet(path: Path, name: str, how: Reading) -> Found:
    try:
        with _seekable(path) as source:
            table = pyarrow.parquet.ParquetFile(source)
            columns = columns_of(table.schema_arrow.names, str(path), how.text_field)
            batches = table.iter_batches(batch_size=256, columns=columns)
            yield from _records((value for batch in batches for value in batch.to_pylist()), path, name, how)
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


@contextlib.contextmanager
def _seekable(path: Path) -> Iterator[Any]:
    """The file as Parquet reads it, from its end: unpacked where it is compressed."""
    with opened(path) as file:
        yield file if isinstance(file, io.BufferedReader) else pyarrow.BufferReader(whole(file))


READERS = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
}
"""Readers by the ending of a file's name; any other file is plain text."""


def has_records(path: Path) -> bool:
    """Whether a file is of a form that has records, or some file of a folder is."""
    return any(ending_of(file) in READERS for _, file in text_files(path))


def has_plain(path: Path) -> bool:
    """Whether a file is plain text by its name, or some file of a folder is."""
    return any(ending_of(file) not in READERS for _, file in text_files(path))


def _records(values: Iterable[Any], path: Path, name: str, how: Reading) -> Found:
    return documents_of(values, name, lambda number: f"{path}, record {number}", how.text_field)
