"""Where documents come from: sources by name, files and folders, Hugging Face datasets."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.base.registry import Registry
from sparselex.text.documents import Document, TextSource
from sparselex.text.files import TEXT_FIELDS, file_documents, files_identity
from sparselex.text.hub import dataset_documents
from sparselex.text.stdlib import STDLIB

SOURCES: Registry[TextSource] = Registry("source", {"stdlib": STDLIB})
"""Sources asked for as `NAME` or `NAME:REST`, before a file or a dataset of that name. Other packages add theirs as
entry points `sparselex.source`."""


def load_documents(source: str) -> Iterator[Document]:
    """Documents of `source`, lazily and in a fixed order.

    Args:
        source: `NAME` or `NAME:REST` of a source (`stdlib`: the source text of the running Python's standard library),
            a file (plain text: one document per `<|endoftext|>` part, or per `PART_LENGTH` characters where it has
            none; `.json`, `.jsonl`, `.parquet`: one per record), a folder of such files, or `NAME` or `NAME:SPLIT` of a
            Hugging Face dataset, streamed.

    Raises `UserError` when the source is unknown, unreadable or holds no text. Empty texts are left out.
    """
    documents = (document for document in _open(source) if document.text.strip())
    first = next(documents, None)
    if first is None:
        raise UserError(
            f"The text source {source!r} holds no text.",
            "at least one document that is not blank",
            f"check the path, or the field that holds the text: {', '.join(TEXT_FIELDS)}.",
        )
    return itertools.chain([first], documents)


def text_id(source: str) -> str:
    """Hash of what `source` holds: the contents of files; for a dataset, which cannot be read twice, its name."""
    if (named := _named(source)) is not None:
        found, rest = named
        return found.identity(rest)
    path = Path(source).expanduser()
    return files_identity(path) if path.exists() else fingerprint(source)


def _named(source: str) -> tuple[TextSource, str] | None:
    """The source that `source` asks for by name, and the rest behind the name."""
    name, _, rest = source.partition(":")
    return (SOURCES.get(name), rest) if name in SOURCES.names() else None


def _open(source: str) -> Iterator[Document]:
    if (named := _named(source)) is not None:
        found, rest = named
        return found.documents(rest)
    path = Path(source).expanduser()
    if path.exists():
        return file_documents(path)
    if path.suffix or source.startswith((".", "/", "~")):
        raise UserError(
            f"The text source {source!r} does not exist.",
            "`stdlib`, a file, a folder, or the name of a Hugging Face dataset",
            "check the path.",
        )
    return dataset_documents(source)
