"""Where documents come from: sources by name, files and folders, Hugging Face datasets."""

from collections.abc import Iterator
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.text.documents import Document
from sparselex.text.files import READERS, TEXT_FIELDS, file_documents
from sparselex.text.hub import dataset_documents
from sparselex.text.table import place_of

TEXT_ENDINGS = (*READERS, ".csv", ".html", ".md", ".py", ".rst", ".text", ".tsv", ".txt", ".xml")
"""Endings by which a name that is not there is known for a file's: names of datasets have dots in them too."""


def load_documents(source: str) -> Iterator[Document]:
    """Documents of `source`, lazily and in a fixed order: it is opened when the first one is asked for.

    Args:
        source: `NAME` or `NAME:REST` of a source (`stdlib`: the source text of the running Python's standard library),
            a file (plain text: one document per `<|endoftext|>` part, or per `PART_LENGTH` characters where it has
            none; `.json`, `.jsonl`, `.parquet`: one per record), a folder of such files (hidden ones, and links that
            lead out of it, are left out), or `NAME` or `NAME:SPLIT` of a Hugging Face dataset, streamed.

    Raises `UserError`, once a document is asked for, when the source is unknown, unreadable or holds no text. Empty
    texts are left out.
    """
    is_empty = True
    for document in _open(source):
        if document.text.strip():
            is_empty = False
            _check_text(document, source)
            yield document
    if is_empty:
        raise UserError(
            f"The text source {source!r} holds no text.",
            "at least one document that is not blank",
            f"check the path, or the field that holds the text: {', '.join(TEXT_FIELDS)}; of a folder, hidden files "
            "and links that lead out of it are not read.",
        )


def _check_text(document: Document, source: str) -> None:
    """Raise `UserError` for half a character: JSON can write what no text holds."""
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"The document {document.name!r} of {source!r} is no text: half a character ({error.object[error.start]!r})"
            f" stands at {error.start}.",
            "Unicode text",
            "correct the document, or leave it out.",
        ) from None


def _open(source: str) -> Iterator[Document]:
    match place_of(source):
        case Path() as path:
            return file_documents(path)
        case (found, rest):
            return found.documents(rest)
    if source.startswith((".", "/", "~")) or source.lower().endswith(TEXT_ENDINGS):
        raise UserError(
            f"The text source {source!r} does not exist.",
            "`stdlib`, a file, a folder, or the name of a Hugging Face dataset",
            "check the path.",
        )
    return dataset_documents(source)
