"""Artifacts: folders written aside, checked, and renamed into place.

A stage writes into `.<name>.partial` beside its destination. When all files are there they are flushed to
disk, listed with their checksums in `manifest.json`, and the folder is renamed: a half-written artifact is
never visible. A stage killed on the way finds its partial folder again (same configuration and inputs) and
goes on; a partial folder of another configuration is discarded.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError

FORMAT = 1
"""Version of the artifact format; raised when older readers could misread what we write."""

MANIFEST = "manifest.json"
_STAGE = "stage.json"
_CHUNK = 1 << 22


class FileEntry(Config):
    """One file of an artifact."""

    n_bytes: int
    """Size in bytes."""

    sha256: str
    """Checksum of the contents, hexadecimal."""


class Manifest(Config):
    """What an artifact is and from what it came. Holds no clock times: equal work gives equal bytes."""

    kind: str
    """Kind of artifact, such as `corpus`, `dictionary` or `evaluation`."""

    id: str
    """Hash of kind, configuration, inputs and contents: two artifacts with one id are the same."""

    format: int = FORMAT
    """Version of the artifact format."""

    code_version: str
    """Version of sparselex that wrote it."""

    config: dict[str, Any]
    """The resolved configuration, enough to make the artifact again."""

    inputs: dict[str, str]
    """Ids of the artifacts and models it was made from, by role."""

    notes: dict[str, Any] = Field(default_factory=dict)
    """What was counted on the way: token counts, masks, medians."""

    files: dict[str, FileEntry]
    """Every file with its size and checksum."""


class Staging:
    """A stage in progress: write files into `folder`, then call `finish` once."""

    def __init__(self, to: Path, folder: Path, kind: str, config: dict[str, Any], inputs: dict[str, str]):
        self.to, self.folder, self.kind, self.config, self.inputs = to, folder, kind, config, inputs
        self.manifest: Manifest | None = None

    def finish(
        self,
        notes: Mapping[str, Any] | None = None,
        *,
        drop: tuple[str, ...] = (),
        written: Mapping[str, FileEntry] | None = None,
    ) -> Manifest:
        """Flush, list and rename the folder into place.

        `drop` names scratch files or folders to leave out; `written` holds the entries of files that `write_file` has
        flushed and hashed already.
        """
        for name in (*drop, _STAGE):
            _remove(self.folder / name)
        files = {}
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            name = path.relative_to(self.folder).as_posix()
            entry = (written or {}).get(name)
            if entry is None:
                _fsync(path)
                entry = FileEntry(n_bytes=path.stat().st_size, sha256=checksum(path))
            files[name] = entry
        # Through JSON, so that notes given as tuples or int keys hash as they will be read back.
        body = json.loads(json.dumps([self.kind, FORMAT, self.config, self.inputs, dict(notes or {})]))
        digest = fingerprint([*body, {name: entry.sha256 for name, entry in files.items()}])
        self.manifest = Manifest(
            kind=self.kind,
            id=digest,
            code_version=version("sparselex"),
            config=body[2],
            inputs=body[3],
            notes=body[4],
            files=files,
        )
        write_json(self.folder / MANIFEST, self.manifest.to_json())
        _fsync(self.folder)
        self._put_in_place()
        return self.manifest

    def _put_in_place(self) -> None:
        old = self.to.with_name(f".{self.to.name}.old")
        _remove(old)
        if self.to.exists():
            os.rename(self.to, old)
        os.rename(self.folder, self.to)
        _fsync(self.to.parent)
        _remove(old)


@contextlib.contextmanager
def stage(to: Path, kind: str, config: Config, inputs: Mapping[str, str]) -> Iterator[Staging]:
    """Open (or take up again) the stage that writes artifact `to`; one process at a time.

    Raises `UserError` when another process is writing the same artifact, when the disk is full, or when `to`
    exists and is no artifact of ours (nothing of the user's is ever replaced).
    """
    to = Path(to).absolute()
    if to.exists() and not _is_ours(to):
        raise UserError(
            f"{to} exists and was not written by sparselex.",
            "a new folder name, or an artifact to replace",
            "choose another destination, or move that folder away.",
        )
    folder = to.with_name(f".{to.name}.partial")
    key = json.loads(json.dumps({"kind": kind, "config": config.to_json(), "inputs": dict(inputs)}))
    with _disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        with lock(to.with_name(f".{to.name}.lock"), f"writing {to}"):
            if read_json(folder / _STAGE) != key:
                _remove(folder)
                folder.mkdir()
                write_json(folder / _STAGE, key)
            yield Staging(to, folder, kind, key["config"], key["inputs"])


def finished(to: Path, kind: str, config: Config, inputs: Mapping[str, str]) -> Manifest | None:
    """The manifest of artifact `to` if it was made from exactly this configuration and these inputs."""
    to = Path(to)
    if not (to / MANIFEST).is_file():
        return None
    manifest = open_artifact(to, kind)
    same = manifest.config == json.loads(json.dumps(config.to_json())) and manifest.inputs == dict(inputs)
    return manifest if same else None


def open_artifact(path: Path, kind: str, *, verify: bool = False) -> Manifest:
    """Read and check the manifest of artifact `path`: its kind and the size of every file.

    With `verify`, the checksum of every file as well. Raises `UserError` naming the folder or file at fault.
    """
    path = Path(path)
    values = read_json(path / MANIFEST)
    if values is None:
        raise UserError(
            f"{path} holds no sparselex artifact (no readable {MANIFEST}).",
            f"a finished {kind} folder",
            f"check the path, or run the stage that makes the {kind}.",
        )
    manifest = Manifest.parse(values, str(path / MANIFEST))
    if manifest.kind != kind:
        raise UserError(f"{path} is a {manifest.kind} artifact.", f"a {kind} artifact", "check the path.")
    for name, entry in manifest.files.items():
        size = (path / name).stat().st_size if (path / name).is_file() else None
        if size != entry.n_bytes:
            raise _damaged(path / name, f"{size} bytes" if size is not None else "missing", entry)
        if verify:
            verify_file(path, name, manifest)
    return manifest


def verify_file(path: Path, name: str, manifest: Manifest) -> None:
    """Compare one file of artifact `path` with its checksum. Raises `UserError` if they differ."""
    entry = manifest.files[name]
    if checksum(path / name) != entry.sha256:
        raise _damaged(path / name, "other contents (checksum differs)", entry)


def checksum(path: Path) -> str:
    """SHA-256 of a file's contents, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_file(path: Path, data: bytes) -> FileEntry:
    """Write `data` through a temporary file and a rename, flushed to disk; returns its manifest entry."""
    aside = path.with_name(f".{path.name}.aside")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    return FileEntry(n_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def fingerprint(value: Any) -> str:
    """Short stable hash of any JSON value: 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(path: Path) -> Any | None:
    """The JSON value in `path`, or None where there is no readable JSON file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file and a rename, so that readers see the old or the new, never half."""
    # By process: several may write the same file at once, each its own half.
    aside = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.aside")
    aside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _fsync(aside)
    os.replace(aside, path)


@contextlib.contextmanager
def lock(path: Path, purpose: str) -> Iterator[None]:
    """Hold an advisory lock file; it is released by the system however the process ends.

    Raises `UserError` at once when another process holds it.
    """
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"Another sparselex process (pid {file.read().strip() or 'unknown'}) is {purpose}.",
                "one writing process at a time",
                "wait for it to end, or stop it, then run the same command again.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # Removed while still held, so that no lock file outlives its work; a process that
            # opened it a moment ago locks a nameless file and then finds the finished artifact.
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        raise UserError(
            f"Writing {to} failed: {error.strerror}.",
            "a writable disk with room for the artifact",
            "free some space or choose another folder, then run the same command again; finished work is kept.",
        ) from error


def _damaged(path: Path, found: str, entry: FileEntry) -> UserError:
    return UserError(
        f"{path} is damaged: {found}.",
        f"{entry.n_bytes} bytes with SHA-256 {entry.sha256[:12]}…",
        f"delete {path.parent} and run the stage that made it again.",
    )


def _is_ours(path: Path) -> bool:
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
