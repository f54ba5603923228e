"""Files: written aside and renamed, read or found unreadable, hashed."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.reading import json_file, regular

T = TypeVar("T")

_CHUNK = 1 << 22
_ASIDE = ".aside"

_OLD = ".~old"
"""In the name of a folder that was moved out of the way; `~` is in no name of a run."""


class FileEntry(Config):
    """One file of an artifact."""

    n_bytes: int
    """Size in bytes."""

    sha256: str
    """Checksum of the contents, hexadecimal."""


def checksum(path: Path) -> str:
    """SHA-256 of a file's contents, hexadecimal."""
    digest = hashlib.sha256()
    with open(regular(path), "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Short stable hash of any JSON value: 16 hexadecimal digits."""
    return hashlib.sha256(_encoded(value, sort_keys=True)).hexdigest()[:16]


def write_file(path: Path, data: bytes) -> FileEntry:
    """Write `data` through a temporary file and a rename, so that readers see the old or the new, never half; flushed
    to disk, name and all. Returns its manifest entry."""
    path = Path(path)
    remove_asides(path.parent, path.name)
    # By process: several may write the same file at once, each its own half.
    aside = path.with_name(f".{path.name}.{os.getpid()}{_ASIDE}")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    flush(path.parent)
    return FileEntry(n_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value like `write_file`."""
    write_file(path, _encoded(value, indent=1) + b"\n")


def read_json(path: Path, most: int | None = None) -> Any | None:
    """The JSON value in `path`, or None where there is no readable JSON file of at most `most` bytes."""
    try:
        if most is not None and Path(path).stat().st_size > most:
            return None
        return json_file(Path(path))
    except (OSError, ValueError):
        return None


def _encoded(value: Any, **options: Any) -> bytes:
    """A value in JSON. Bytes of a file's name that are no UTF-8 are escaped, and read back as they were."""
    return json.dumps(value, ensure_ascii=False, **options).encode(errors="backslashreplace")


_REMEMBERED: dict[tuple[Path, Any], tuple[Any, Any]] = {}


def remembered(path: Path, make: Callable[[Path], T]) -> T:
    """What `make` makes of a file, made again when the file looks another (by size, time and place on disk).

    What is made is shared by all who ask: nobody may change it. Raises what `make` raises, and `OSError` where there is
    no such file.
    """
    now, key = look(path), (path, make)
    if key not in _REMEMBERED or _REMEMBERED[key][0] != now:
        _REMEMBERED[key] = (now, make(path))
    found: T = _REMEMBERED[key][1]
    return found


def look(path: Path) -> tuple[int, int, int]:
    """How a file looks without reading it: size in bytes, time of the last change in nanoseconds, place on disk."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def remove_asides(folder: Path, name: str = "*") -> None:
    """Take away what processes that have died left half-written in a folder, of all files or of one."""
    for path in folder.glob(f".{name if name == '*' else escape(name)}.*{_ASIDE}"):
        if _is_left(path):
            remove(path)


def is_aside(path: Path) -> bool:
    """Whether a file is one that is being written, or was when its process died."""
    return path.name.startswith(".") and path.name.endswith(_ASIDE)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's contents, or a folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_all(folder: Path) -> None:
    """Wait until all that lies in a folder is on disk, and the names by which it is found there."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


@contextlib.contextmanager
def new_folder(to: Path, *, replaces: bool = False) -> Iterator[Path]:
    """A folder to write into that becomes `to` when all is written and on disk; nothing is left of it where that fails.

    Raises `UserError` where `to` exists, also where another process has made it meanwhile; where it `replaces` what
    stands there, that goes when all is written.
    """
    to = to.absolute()
    put_back(to)
    if to.exists() and not replaces:
        raise UserError(f"{to} exists.", "a new folder", "choose another folder.")
    to.parent.mkdir(parents=True, exist_ok=True)
    remove_asides(to.parent, to.name)
    # By process: several may write the same folder at once, of which the first to end has it.
    aside = to.with_name(f".{to.name}.{os.getpid()}{_ASIDE}")
    old = to.with_name(f".{to.name}{_OLD}.{os.getpid()}{_ASIDE}")
    remove(aside)
    aside.mkdir()
    try:
        yield aside
        # The name is not waited for: killed between the two, this would find its own folder in its way.
        flush_all(aside)
        if to.exists() and not replaces:
            raise UserError(f"Another process has made {to}.", "a new folder", "choose another folder.")
        if to.exists():
            os.rename(to, old)
        os.rename(aside, to)
    finally:
        if old.exists() and not to.exists():
            os.rename(old, to)
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def put_back(to: Path) -> None:
    """Put back what stood at `to` where a process died that had moved it out of the way, and the new was not there
    yet."""
    to = to.absolute()
    olds = [] if to.exists() else sorted(to.parent.glob(f".{escape(to.name)}{_OLD}.*{_ASIDE}"))
    for old in filter(_is_left, olds[:1]):
        os.rename(old, to)


def check_room(folder: Path, n_bytes: float) -> None:
    """Raise `UserError` where so many bytes more would not fit on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise UserError(
            f"{n_bytes / 1e6:,.0f} MB more are to be written to {folder.parent}, and {free / 1e6:,.0f} MB are free.",
            "a disk with room for all of it",
            "free some space, choose another folder, or take fewer features (--latent).",
        )


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, unless they are there; their names are on disk then."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush(one.parent)


def _is_left(aside: Path) -> bool:
    """Whether the process is dead that wrote a file or folder aside."""
    pid = aside.name.removesuffix(_ASIDE).rpartition(".")[2]
    return not (pid.isdecimal() and _is_alive(int(pid)))


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
