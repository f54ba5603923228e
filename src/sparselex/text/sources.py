"""Where documents come from: sources by name, files and folders, Hugging Face datasets."""

from collections.abc import Iterator
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.text.documents import Document, Documents, Skipped
from sparselex.text.files import READERS, file_documents
from sparselex.text.hub import dataset_documents
from sparselex.text.opening import COMPRESSED
from sparselex.text.table import place_of

TEXT_ENDINGS = (*READERS, *COMPRESSED, ".html", ".md", ".py", ".rst", ".text", ".txt", ".xml")
"""Endings by which a name that is not there is known for a file's: names of datasets have dots in them too."""


def load_documents(source: str) -> Documents:
    """Documents of `source`, lazily and in a fixed order: it is opened when the first one is asked for.

    Args:
        source: `NAME` or `NAME:REST` of a source (`stdlib`: the source text of the running Python's standard library),
            a file (plain text: one document per `<|endoftext|>` part, or per `PART_LENGTH` characters where it has
            none; `.json`, `.jsonl`, `.ndjson`, `.csv`, `.tsv`, `.parquet`: one per record; each as it is or as `.gz`,
            `.bz2`, `.xz`), a folder of such files (hidden ones, and links that lead out of it, are left out), or `NAME`
            or `NAME:SPLIT` of a Hugging Face dataset, streamed.

    Empty texts, records that are broken or have none, and in a folder files that are none, are skipped and counted
    (`Documents.skipped`). Raises `UserError`, once a document is asked for, when the source is unknown, unreadable,
    holds no text, or is a file of which most records have none.
    """
    return Documents(_open(source), source)


def _open(source: str) -> Iterator[Document | Skipped]:
    match place_of(source):
        case Path() as path:
            yield from file_documents(path)
        case (found, rest):
            yield from found.documents(rest)
        case _:
            yield from _dataset(source)


def _dataset(source: str) -> Iterator[Document | Skipped]:
    if source.startswith((".", "/", "~")) or source.lower().endswith(TEXT_ENDINGS):
        raise UserError(
            f"The text source {source!r} does not exist.",
            "`stdlib`, a file, a folder, or the name of a Hugging Face dataset",
            "check the path.",
        )
    return dataset_documents(source)
