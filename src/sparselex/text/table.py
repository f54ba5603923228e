"""The sources of text by name, and where a source is to be found. Nothing is read here."""

import re
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.registry import Registry
from sparselex.text.documents import TextSource
from sparselex.text.stdlib import STDLIB

SOURCES: Registry[TextSource] = Registry("source", {"stdlib": STDLIB})
"""Sources asked for as `NAME` or `NAME:REST`, before a file or a dataset of that name. Other packages add theirs as
entry points `sparselex.source`."""

Place = tuple[TextSource, str] | Path | None
"""Where a source is to be found, as `place_of` tells it."""

_PART = r"(.+?)@(\d+(?:\.\d+)?|\.\d+)"


def parts_of(source: str) -> list[tuple[str, float]]:
    """The sources and weights of a mixture, `A@0.7+B@0.3`; none where `source` is a single one. A path that exists is
    never a mixture. Raises `UserError` for a weight of nothing."""
    if not re.fullmatch(rf"{_PART}(?:\+{_PART})+", source) or Path(source).expanduser().exists():
        return []
    parts = [(name, float(weight)) for name, weight in re.findall(rf"{_PART}(?:\+|$)", source)]
    if not all(weight > 0 for _, weight in parts):
        raise UserError(
            f"The mixture {source!r} has a source of weight 0.",
            "a weight above 0 behind each @",
            "leave that source out.",
        )
    return parts


def place_of(source: str) -> Place:
    """Where `source` is to be found, in the order in which names are understood: the source that it asks for by name,
    with the rest behind the name; else the file or folder of that path; else None, a Hugging Face dataset."""
    name, _, rest = source.partition(":")
    if name in SOURCES.names():
        return SOURCES.get(name), rest
    path = Path(source).expanduser()
    return path if path.exists() else None
