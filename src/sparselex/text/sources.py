"""Where documents come from: the standard library, files and folders, Hugging Face datasets."""

import itertools
import json
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.artifacts import checksum, fingerprint
from sparselex.base.errors import UserError

TEXT_FIELDS = ("text", "content", "story", "document")
"""Fields of a JSON or Parquet record in which the text is looked for, in this order."""


PART_LENGTH = 8_000
"""Characters in a part of a long plain text given alone: it has no documents of its own, so it is cut at blank
lines."""


class Document(NamedTuple):
    """A text with a name that is unique in its source."""

    name: str
    text: str


def load_documents(source: str) -> Iterator[Document]:
    """Documents of `source`, lazily and in a fixed order.

    Args:
        source: `stdlib` (the source text of the running Python's standard library), a file (plain text: one document
            per `<|endoftext|>` part, or per `PART_LENGTH` characters where it has none; `.json`, `.jsonl`, `.parquet`:
            one per record), a folder of such files, or `NAME` or `NAME:SPLIT` of a Hugging Face dataset, streamed.

    Raises `UserError` when the source is unknown, unreadable or holds no text. Empty texts are left out.
    """
    documents = (Document(name, text) for name, text in _open(source) if text.strip())
    first = next(documents, None)
    if first is None:
        raise UserError(
            f"The text source {source!r} holds no text.",
            "at least one document that is not blank",
            "check the path, or the field that holds the text: " + ", ".join(TEXT_FIELDS) + ".",
        )
    return itertools.chain([first], documents)


def text_id(source: str) -> str:
    """Hash of what `source` holds: the contents of files; for a dataset, which cannot be read twice, its name."""
    root = Path(sysconfig.get_path("stdlib")) if source == "stdlib" else Path(source).expanduser()
    if source != "stdlib" and not root.exists():
        return fingerprint(source)
    files = [root] if root.is_file() else sorted(root.rglob("*.py" if source == "stdlib" else "*"))
    return fingerprint([[path.name, checksum(path)] for path in files if path.is_file() and _counts(path, root)])


def _counts(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return not parts or parts[0] not in ("site-packages", "dist-packages")


def standard_library() -> Iterator[tuple[str, str]]:
    """Every module of the running Python's standard library that is UTF-8, its test suite too where it has one.

    The order is shuffled (by a hash of the name), so that any beginning of it is a fair sample of the whole.
    """
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py"), key=lambda path: fingerprint(path.relative_to(root).as_posix())):
        if not _counts(path, root):
            continue
        try:
            yield path.relative_to(root).as_posix(), path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # a few test files are broken on purpose


def _open(source: str) -> Iterator[tuple[str, str]]:
    if source == "stdlib":
        return standard_library()
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _lone_file(path)
    if path.suffix or source.startswith((".", "/", "~")):
        raise UserError(
            f"The text source {source!r} does not exist.",
            "`stdlib`, a file, a folder, or the name of a Hugging Face dataset",
            "check the path.",
        )
    return _dataset(source)


def _lone_file(path: Path) -> Iterator[tuple[str, str]]:
    for name, text in _file(path, path.name):
        if path.suffix.lower() in READERS or len(text) <= 2 * PART_LENGTH:
            yield name, text
        else:
            yield from ((f"{name}@{start}", part) for start, part in _parts(text))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(text):
        cuts = (text.find(mark, start + PART_LENGTH) + len(mark) for mark in ("\n\n", "\n"))
        end = next((cut for cut in cuts if start + PART_LENGTH < cut < start + 2 * PART_LENGTH), start + PART_LENGTH)
        yield start, text[start:end]
        start = end


def _folder(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        yield from _file(path, path.relative_to(folder).as_posix())


def _file(path: Path, name: str) -> Iterator[tuple[str, str]]:
    try:
        yield from READERS.get(path.suffix.lower(), _plain)(path, name)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"The text file {path} cannot be read: {error}.",
            "UTF-8 text, a JSON list, JSON lines, or Parquet",
            "convert the file, or leave it out of the folder.",
        ) from None


def _plain(path: Path, name: str) -> Iterator[tuple[str, str]]:
    # newline="" keeps the bytes: reading must not turn \r\n into \n.
    with open(path, encoding="utf-8", newline="") as file:
        parts = file.read().split("<|endoftext|>")
    if len(parts) == 1:
        yield name, parts[0]
    else:
        yield from ((f"{name}#{number}", part) for number, part in enumerate(parts))


def _json(path: Path, name: str) -> Iterator[tuple[str, str]]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return _records(values if isinstance(values, list) else [values], path, name)


def _jsonl(path: Path, name: str) -> Iterator[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        yield from _records((json.loads(line) for line in file if line.strip()), path, name)


def _parquet(path: Path, name: str) -> Iterator[tuple[str, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        for batch in table.iter_batches(batch_size=256):
            yield from _records(batch.to_pylist(), path, name)
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


READERS = {".json": _json, ".jsonl": _jsonl, ".parquet": _parquet}


def _records(values: Iterable[Any], path: Path | str, name: str) -> Iterator[tuple[str, str]]:
    for number, value in enumerate(values):
        yield f"{name}#{number}", _text_of(value, f"{path}, record {number}")


def _text_of(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for field in TEXT_FIELDS:
            if isinstance(value.get(field), str):
                return value[field]
    fields = f"the fields {', '.join(map(str, value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise UserError(
        f"{where} holds {fields} and no text.",
        "a string, or a record with one of the fields " + ", ".join(TEXT_FIELDS),
        "rename the field that holds the text.",
    )


def _dataset(source: str) -> Iterator[tuple[str, str]]:
    name, _, split = source.partition(":")
    if find_spec("datasets") is None:
        raise UserError(
            f"{source!r} is no file or folder, and the package `datasets` is not installed.",
            "a path, `stdlib`, or a dataset name with the package at hand",
            "check the path, or run `pip install sparselex[datasets]`.",
        )
    import datasets

    try:
        rows = datasets.load_dataset(name, split=split or "train", streaming=True)
        for number, row in enumerate(rows):
            yield f"{name}#{number}", _text_of(row, f"dataset {name}, row {number}")
    except UserError:
        raise
    except Exception as error:  # a door: the library raises many kinds for one cause, an unreachable dataset
        raise UserError(
            f"The text source {source!r} is no file or folder, and no dataset of that name can be loaded: {error}.",
            "`stdlib`, a file, a folder, or the name of a reachable Hugging Face dataset (NAME or NAME:SPLIT)",
            "check the spelling and the network.",
        ) from None
