"""Documents in files: plain text, JSON, JSON lines and Parquet, alone or in folders."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from sparselex.base.errors import UserError
from sparselex.base.reading import json_file, parse_json, regular
from sparselex.text.documents import Document
from sparselex.text.folders import named, text_files

TEXT_FIELDS = ("text", "content", "story", "document")
"""Fields of a JSON or Parquet record in which the text is looked for, in this order."""

ROLES_FIELD = "roles"
"""Field of a record with named parts of its text."""

PART_LENGTH = 8_000
"""Characters in a part of a long plain text given alone: it has no documents of its own, so it is cut at blank
lines."""


def file_documents(path: Path) -> Iterator[Document]:
    """Documents of a file or of all files of a folder, in the order of their names. Raises `UserError` naming the file
    that cannot be read."""
    return _folder(path) if path.is_dir() else _lone_file(path)


def document_of(value: Any, name: str, where: str) -> Document:
    """A record (text, or fields with one of `TEXT_FIELDS`) as a document. Raises `UserError` for one without text."""
    if isinstance(value, str):
        return Document(name, value)
    if isinstance(value, dict):
        for field in TEXT_FIELDS:
            if isinstance(value.get(field), str):
                return Document(name, value[field], value.get(ROLES_FIELD))
    raise UserError(
        f"{where} holds {_shown(value)} and no text.",
        "a string, or a record with one of the fields " + ", ".join(TEXT_FIELDS),
        "rename the field that holds the text.",
    )


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    named = next((name for name in TEXT_FIELDS if name in value), None)
    return f"a {type(value[named]).__name__} as {named}" if named else f"the fields {', '.join(map(str, value))}"


def _folder(folder: Path) -> Iterator[Document]:
    for name, path in text_files(folder):
        yield from _file(path, name)


def _lone_file(path: Path) -> Iterator[Document]:
    for document in _file(path, named(path.name)):
        if path.suffix.lower() in READERS or len(document.text) <= 2 * PART_LENGTH:
            yield document
        else:
            yield from (Document(f"{document.name}@{start}", part) for start, part in _parts(document.text))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(text):
        cuts = (text.find(mark, start + PART_LENGTH) + len(mark) for mark in ("\n\n", "\n"))
        end = next((cut for cut in cuts if start + PART_LENGTH < cut < start + 2 * PART_LENGTH), start + PART_LENGTH)
        yield start, text[start:end]
        start = end


def _file(path: Path, name: str) -> Iterator[Document]:
    try:
        yield from READERS.get(path.suffix.lower(), _plain)(regular(path), name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The text file {path} cannot be read: {error}.",
            "UTF-8 text, a JSON list, JSON lines, or Parquet",
            "convert the file, or leave it out of the folder.",
        ) from None


def _plain(path: Path, name: str) -> Iterator[Document]:
    # newline="" keeps the bytes: reading must not turn \r\n into \n.
    with open(path, encoding="utf-8", newline="") as file:
        parts = file.read().split("<|endoftext|>")
    if len(parts) == 1:
        yield Document(name, parts[0])
    else:
        yield from (Document(f"{name}#{number}", part) for number, part in enumerate(parts))


def _json(path: Path, name: str) -> Iterator[Document]:
    values = json_file(path)
    return _records(values if isinstance(values, list) else [values], path, name)


def _jsonl(path: Path, name: str) -> Iterator[Document]:
    with open(path, encoding="utf-8") as file:
        yield from _records((parse_json(line) for line in file if line.strip()), path, name)


def _parquet(path: Path, name: str) -> Iterator[Document]:
    try:
        table = pyarrow.parquet.ParquetFile(path)
        for batch in table.iter_batches(batch_size=256):
            yield from _records(batch.to_pylist(), path, name)
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


READERS = {".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}
"""Readers by the ending of a file's name; any other file is plain text."""


def _records(values: Iterable[Any], path: Path, name: str) -> Iterator[Document]:
    for number, value in enumerate(values):
        yield document_of(value, f"{name}#{number}", f"{path}, record {number}")
