"""Which files a text is: one answer for reading them, for the identity of their contents, and for telling whether they
are as they were."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from sparselex.base.files import checksum, fingerprint
from sparselex.base.stamps import files_stamp


def text_files(root: Path, *, without: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """Every file of the text at `root` with its name there, in the order of their paths: of a folder all files below
    it, by their path in it; a file alone by its own name.

    Left out is what is hidden (its name, or a folder's on the way, begins with a dot), what Python compiled
    (`__pycache__`), the folders of `root` that `without` names, and links that lead out of `root` or nowhere.
    """
    if root.is_file():
        yield named(root.name), root
        return
    home = root.resolve()
    for path in sorted(_below(root, without)):
        # A link can lead anywhere, to what nobody meant to hand out as text.
        if path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(home)):
            yield named(path.relative_to(root).as_posix()), path


def named(path: str) -> str:
    """A name as text: bytes of it that are no UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def files_identity(root: Path) -> str:
    """Hash of the names and contents of all files of the text at `root`."""
    return fingerprint([[name, checksum(path)] for name, path in text_files(root)])


def text_files_stamp(root: Path) -> str:
    """Hash of the names, sizes and times of all files of the text at `root`; no contents are read."""
    return files_stamp(text_files(root))


def _below(root: Path, without: Collection[str]) -> Iterator[Path]:
    """All that is in no folder left out, links to folders not followed."""
    for folder, folders, names in os.walk(root):
        left_out = {"__pycache__", *(without if Path(folder) == root else ())}
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        yield from (Path(folder, name) for name in names if not name.startswith("."))
