"""Where documents come from: sources by name, files and folders, Hugging Face datasets."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from sparselex.base.errors import UserError
from sparselex.text.documents import Document, Documents, Skipped
from sparselex.text.files import READERS, READING, Reading, file_documents, has_plain, has_records
from sparselex.text.hub import dataset_documents
from sparselex.text.mixture import Ingredient, Mixture, labels_of
from sparselex.text.opening import COMPRESSED
from sparselex.text.table import Place, parts_of, place_of

TEXT_ENDINGS = (*READERS, *COMPRESSED, ".html", ".md", ".py", ".rst", ".text", ".txt", ".xml")
"""Endings by which a name that is not there is known for a file's: names of datasets have dots in them too."""


def load_documents(
    source: str, *, text_field: str = "", documents: Literal["file", "line"] = "file"
) -> Documents | Mixture:
    """Documents of `source`, lazily and in a fixed order: it is opened when the first one is asked for.

    Args:
        source: `NAME` or `NAME:REST` of a source (`stdlib`: the source text of the running Python's standard library),
            a file (plain text: one document per `<|endoftext|>` part, or per `PART_LENGTH` characters where it has
            none; `.json`, `.jsonl`, `.ndjson`, `.csv`, `.tsv`, `.parquet`: one per record; each as it is or as `.gz`,
            `.bz2`, `.xz`), a folder of such files (hidden ones, and links that lead out of it, are left out), or
            `NAME`, `NAME:SPLIT` or `NAME:CONFIGURATION:SPLIT` of a Hugging Face dataset, streamed; several with their
            weights, `A@0.7+B@0.3`, are a mixture.
        text_field: field of a record that holds its text, its token ids or its messages, `a.b` for one inside another;
            empty for the first of `fields.TEXT_FIELDS` that holds text, or `messages`. In a mixture it is one of the
            sources that have records.
        documents: whether a plain file is one document, or each of its lines. In a folder or a mixture with records
            beside it, each of these is one either way.

    Empty texts, records that are broken or have none, and in a folder files that are none, are skipped and counted
    (`Documents.skipped`). Raises `UserError`, once a document is asked for, when the source is unknown, unreadable,
    holds no text, or is a file of which most records have none; and at once where `text_field` or `documents` is asked
    for of what has neither fields nor lines.
    """
    how = Reading(text_field, documents)
    parts = parts_of(source)
    _check_choice(source, [one for one, _ in parts] or [source], how)
    if parts:
        sources = [one for one, _ in parts]
        ingredients = [
            Ingredient(one, weight, Documents(_ingredient(label, one, how), one))
            for (one, weight), label in zip(parts, labels_of(sources), strict=True)
        ]
        return Mixture(ingredients)
    return Documents(_open(source, how), source)


def _check_choice(source: str, sources: Sequence[str], how: Reading) -> None:
    """Raise `UserError` where what is asked for of a text is of no effect on any of its sources."""
    if how == READING:
        return
    places = [place_of(one) for one in sources]
    if all(isinstance(place, tuple) for place in places):
        asked = "a text field" if how.text_field else "lines as documents"
        raise UserError(
            f"The text source {source!r} was asked for with {asked}.",
            "files or a dataset, for a source of its own says itself what its documents are",
            "leave --text-field and --documents out.",
        )
    if how.documents == "line" and not any(_has_lines(*pair) for pair in zip(sources, places, strict=True)):
        raise UserError(
            f"The text source {source!r} holds no plain text, and its lines were asked for as documents.",
            "plain text; each record of JSON, JSON lines, CSV, TSV, Parquet or a dataset is a document as it is",
            "leave --documents out.",
        )
    if how.text_field and len(sources) > 1 and not any(_has_fields(place) for place in places):
        raise UserError(
            f"The field {how.text_field} was asked for, and no source of the mixture {source!r} has records.",
            "JSON, JSON lines, CSV, TSV, Parquet or a dataset among them, whose records have fields",
            "leave --text-field out.",
        )


def _has_lines(source: str, place: Place) -> bool:
    """Whether a source has plain text; one that is not there, which is told when it is opened, may have."""
    return has_plain(place) if isinstance(place, Path) else place is None and _is_missing(source)


def _has_fields(place: Place) -> bool:
    return has_records(place) if isinstance(place, Path) else place is None


def _ingredient(label: str, source: str, how: Reading) -> Iterator[Document | Skipped]:
    """What a source of a mixture holds, by names that no other one has; the field is one of those that have records."""
    place = place_of(source)
    if isinstance(place, Path) and not has_records(place):
        how = how._replace(text_field="")
    for item in _open(source, how):
        yield item._replace(name=f"{label}:{item.name}") if isinstance(item, Document) else item


def _open(source: str, how: Reading) -> Iterator[Document | Skipped]:
    match place_of(source):
        case Path() as path:
            yield from file_documents(path, how)
        case (found, rest):
            yield from found.documents(rest)
        case _:
            yield from _dataset(source, how)


def _dataset(source: str, how: Reading) -> Iterator[Document | Skipped]:
    if _is_missing(source):
        raise UserError(
            f"The text source {source!r} does not exist.",
            "`stdlib`, a file, a folder, or the name of a Hugging Face dataset",
            "check the path.",
        )
    return dataset_documents(source, how.text_field)


def _is_missing(source: str) -> bool:
    """Whether a source that is not on this machine is a path, and no name of a dataset."""
    return source.startswith((".", "/", "~")) or source.lower().endswith(TEXT_ENDINGS)
