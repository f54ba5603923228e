"""When a file was written: what tells an opened artifact that it has been replaced."""

import os
from pathlib import Path

Stamp = tuple[int, int] | None
"""Time of the last change in nanoseconds and size in bytes; None for a file that is not there."""


def database_stamps(path: Path) -> tuple[Stamp, ...]:
    """The stamps of an SQLite file and of its log: what was written is in either."""
    return stamp(path), stamp(f"{path}-wal")


def stamp(path: Path | str) -> Stamp:
    """The stamp of a file as it is now."""
    try:
        found = os.stat(path)  # noqa: PTH116 (thirty a page)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
