"""One process at a time."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from sparselex.base.errors import UserError


@contextlib.contextmanager
def lock(path: Path, purpose: str, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an advisory lock file; it is released by the system however the process ends.

    While another process holds it, this one waits where there is an `on_wait`, which it calls before; else it raises
    `UserError` at once.
    """
    while True:
        with open(path, "a+") as file:
            _hold(file, purpose, on_wait)
            if not _is_named(file, path):  # its holder has just taken it away: the next one has a file of its own
                continue
            try:  # a full disk may refuse already the number
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                yield
            finally:
                # While it is still held, so that no lock file outlives its work.
                path.unlink(missing_ok=True)
            return


def _hold(file: IO[str], purpose: str, on_wait: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is not None:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
            return
        file.seek(0)
        raise UserError(
            f"Another sparselex process (pid {file.read().strip() or 'unknown'}) is {purpose}.",
            "one writing process at a time",
            "wait for it to end, or stop it, then run the same command again.",
        ) from None


def _is_named(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
