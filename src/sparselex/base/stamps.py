"""Whether files are still the same, told from their names, sizes and times: contents are not read."""

from collections.abc import Iterable
from pathlib import Path

from sparselex.base.files import fingerprint


def files_stamp(files: Iterable[tuple[str, Path]]) -> str:
    """Hash of names, sizes in bytes and times of files, each given by its name and where it is."""
    return fingerprint([[name, found.st_size, found.st_mtime_ns] for name, path in files if (found := path.stat())])
