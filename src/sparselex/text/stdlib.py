"""The text that every Python has: its own standard library, code, comments, docstrings and data tables."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.files import checksum, fingerprint
from sparselex.base.stamps import files_stamp
from sparselex.text.documents import Document, Skipped
from sparselex.text.folders import text_files


class StandardLibrary:
    """Every module of the running Python's standard library that is UTF-8, its test suite too where it has one.

    The order is shuffled (by a hash of the name), so that any beginning of it is a fair sample of the whole.
    """

    def documents(self, rest: str) -> Iterator[Document | Skipped]:
        """One document a module, named by its path. Raises `UserError` for any `rest`: there is one such library."""
        _check(rest)
        modules = sorted(_modules(), key=lambda pair: fingerprint(pair[0]))
        for name, path in modules:
            try:
                yield Document(name, path.read_bytes().decode("utf-8"))
            except UnicodeDecodeError:  # a few test files are broken on purpose
                yield Skipped("files that cannot be read as text", f"{name} is no UTF-8")

    def identity(self, rest: str) -> str:
        """Hash of all modules' names and contents."""
        _check(rest)
        return fingerprint([[name, checksum(path)] for name, path in _modules()])

    def stamp(self, rest: str) -> str:
        """Hash of all modules' names, sizes and times: reading their contents takes a second."""
        _check(rest)
        return files_stamp(_modules())


STDLIB = StandardLibrary()
"""The source `stdlib`."""


def _modules() -> Iterator[tuple[str, Path]]:
    files = text_files(Path(sysconfig.get_path("stdlib")), without=("site-packages", "dist-packages"))
    return ((name, path) for name, path in files if name.endswith(".py"))


def _check(rest: str) -> None:
    if rest:
        raise UserError(f"The text source 'stdlib:{rest}' was asked for.", "stdlib alone", f"leave :{rest} out.")
