"""The sources of text by name, and where a source is to be found. Nothing is read here."""

from pathlib import Path

from sparselex.base.registry import Registry
from sparselex.text.documents import TextSource
from sparselex.text.stdlib import STDLIB

SOURCES: Registry[TextSource] = Registry("source", {"stdlib": STDLIB})
"""Sources asked for as `NAME` or `NAME:REST`, before a file or a dataset of that name. Other packages add theirs as
entry points `sparselex.source`."""


def place_of(source: str) -> tuple[TextSource, str] | Path | None:
    """Where `source` is to be found, in the order in which names are understood: the source that it asks for by name,
    with the rest behind the name; else the file or folder of that path; else None, a Hugging Face dataset."""
    name, _, rest = source.partition(":")
    if name in SOURCES.names():
        return SOURCES.get(name), rest
    path = Path(source).expanduser()
    return path if path.exists() else None
