"""Stages: the files of an artifact are written aside, checked, and renamed into place.

A stage writes into `.<name>.partial` beside its destination. When all files are there they are flushed to disk, listed
with their checksums in `manifest.json`, and the folder is renamed: a half-written artifact is never visible. A stage
that takes long finds its partial folder again when it was killed (same configuration and inputs), goes on, and says
which files are the artifact's; any other begins with an empty folder. A stage that fails leaves none, unless it has
work in it that the next start takes up.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import (
    MANIFEST,
    VERIFIED,
    Manifest,
    identity,
    note_verified,
    open_artifact,
    read_manifest,
)
from sparselex.base.config import Config
from sparselex.base.errors import REFUSALS, UserError, refusal
from sparselex.base.files import (
    FileEntry,
    checksum,
    flush,
    is_aside,
    make_folder,
    read_json,
    remove,
    remove_asides,
    write_json,
)
from sparselex.base.locks import lock
from sparselex.base.release import own_version

_STAGE = "stage.json"

Guard = Callable[[Path, Manifest, dict[str, Any]], None]
"""`(to, manifest, config)`: raises `UserError` where the finished artifact at `to` may not be replaced by one of that
configuration."""

_GUARD: ContextVar[Guard | None] = ContextVar("guard", default=None)


class Staging:
    """A stage in progress: write files into `folder`, then call `finish` once."""

    def __init__(self, to: Path, folder: Path, kind: str, config: dict[str, Any], inputs: dict[str, str]):
        self.to, self.folder, self.kind, self.config, self.inputs = to, folder, kind, config, inputs
        self.made: Manifest | None = None
        """The artifact, where it is finished already and nothing is left to be done."""

    def finish(
        self, notes: Mapping[str, Any] | None = None, *, files: Mapping[str, FileEntry | None] | None = None
    ) -> Manifest:
        """Flush and list the artifact's files, and rename the folder into place.

        `files` names them, with the entries of those that `write_file` has flushed and hashed already; whatever else
        lies in the folder is scratch, and goes. Left out, they are all that the stage has written, which must then not
        be one that is taken up again.
        """
        named = dict.fromkeys(self._written()) if files is None else files
        entries = {name: named[name] or self._entry(name) for name in sorted(named)}
        config, inputs, noted = _as_read_back(self.to, [self.config, self.inputs, dict(notes or {})])
        values = {"kind": self.kind, "config": config, "inputs": inputs, "notes": noted, "files": entries}
        manifest = Manifest(id=identity(**values), code_version=own_version(), **values)
        # Names before the manifest: where that is on disk, so is all that it lists.
        for parent in {parent for name in entries for parent in Path(name).parents}:
            flush(self.folder / parent)
        note_verified(self.folder, manifest)
        # From here on the work is done: a stage that is killed now is put in place by the next start.
        write_json(self.folder / MANIFEST, manifest.to_json())
        _put_in_place(self.folder, self.to, manifest)
        self.made = manifest
        return manifest

    def _written(self) -> list[str]:
        paths = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        hidden = lambda path: any(part.startswith(".") for part in path.parts)
        return [path.as_posix() for path in paths if not hidden(path) and path.as_posix() != _STAGE]

    def _entry(self, name: str) -> FileEntry:
        path = self.folder / name
        flush(path)
        return FileEntry(n_bytes=path.stat().st_size, sha256=checksum(path))


def _as_read_back(to: Path, values: list[Any]) -> Any:
    """Values as they will be read from JSON: tuples and int keys hash alike then, and what JSON has no word for would
    not be read back at all."""
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except ValueError:
        raise UserError(
            f"A number that was to be noted with {to} is not finite.",
            "finite numbers",
            "look at what was computed: weights, activations or options may have overflowed. Nothing was replaced.",
        ) from None


@contextlib.contextmanager
def stage(
    to: Path | str,
    kind: str,
    config: Config,
    inputs: Mapping[str, str],
    *,
    resumes: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[Staging]:
    """Open the stage that writes artifact `to`, or where it `resumes` take it up again; one process at a time.

    Where the artifact was made of this configuration and these inputs already, it is in `made`, and nothing is left to
    do. While another process is writing the same artifact this one waits, where there is an `on_wait`, which it calls
    before; else `UserError` is raised, as it is when the disk is full, or when `to` exists and is no artifact of ours
    (nothing of the user's is ever replaced).
    """
    to = Path(to).absolute()
    folder, locked = _partial(to), to.with_name(f".{to.name}.lock")
    key = json.loads(json.dumps({"kind": kind, "config": config.to_json(), "inputs": dict(inputs)}))
    staging = Staging(to, folder, kind, key["config"], key["inputs"])
    staging.made = finished(to, kind, config, inputs)
    if staging.made:
        _tidy_finished(to, locked)
        yield staging
        return
    if to.exists() and not _is_ours(to):
        raise UserError(
            f"{to} exists and was not written by sparselex.",
            "a new folder name, or an artifact to replace",
            "choose another destination, or move that folder away.",
        )
    with _disk_errors(to), _no_folders_left(to.parent), lock(locked, f"writing {to}", on_wait=on_wait):
        _tidy(to)
        staging.made = finished(to, kind, config, inputs) or _complete(folder, to, key)
        if not staging.made:
            check_replaced(to, config)
        with _nothing_left(folder, resumes=resumes):
            if not staging.made:
                _take_up(folder, key, resumes)
            yield staging


@contextlib.contextmanager
def _nothing_left(folder: Path, *, resumes: bool) -> Iterator[None]:
    """Take away what a stage that fails has written, if nobody would take it up: bad input leaves nothing half made.

    One that resumes has nothing to take up either before it has written: a refusal comes before the work.
    """
    try:
        yield
    except BaseException:
        # Of a folder with a manifest all is done but the renaming, which the next start does.
        if not ((folder / MANIFEST).exists() or (resumes and _has_work(folder))):
            with contextlib.suppress(OSError):
                remove(folder)
        raise


def _has_work(folder: Path) -> bool:
    """Whether anything was written into a partial folder but what says whose it is, and files without contents."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _STAGE and not is_aside(path))
    return any(path.stat().st_size for path in files)


@contextlib.contextmanager
def _no_folders_left(folder: Path) -> Iterator[None]:
    """Make a folder, with those that it lies in; where nothing comes to lie in them they are taken away again."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for one in missing:
            with contextlib.suppress(OSError):  # something lies there
                one.rmdir()
        raise


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """While this is open, `guard` is asked before a stage replaces a finished artifact."""
    token = _GUARD.set(guard)
    try:
        yield
    finally:
        _GUARD.reset(token)


def check_replaced(to: Path | str, config: Config) -> None:
    """Raise `UserError` where a stage would refuse to write an artifact of this configuration to `to`, in the place of
    one that is there: for those who do something beside the artifact before they begin its stage."""
    guard, to = _GUARD.get(), Path(to).absolute()
    if guard is not None and (to / MANIFEST).is_file():
        guard(to, read_manifest(to), json.loads(json.dumps(config.to_json())))


def watched(to: Path | str, kind: str, config: Config, inputs: Mapping[str, str]) -> Staging:
    """The stage that another process of ours has opened, to look into its folder."""
    to = Path(to).absolute()
    staging = Staging(to, _partial(to), kind, {}, {})
    staging.made = finished(to, kind, config, inputs)
    return staging


def finished(to: Path, kind: str, config: Config, inputs: Mapping[str, str]) -> Manifest | None:
    """The manifest of artifact `to` if it was made from exactly this configuration and these inputs."""
    to = Path(to)
    if not (to / MANIFEST).is_file():
        return None
    manifest = open_artifact(to, kind)
    same = manifest.config == json.loads(json.dumps(config.to_json())) and manifest.inputs == dict(inputs)
    return manifest if same else None


@contextlib.contextmanager
def _disk_errors(to: Path) -> Iterator[None]:
    """Turn what a disk refuses into a `UserError` that names what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise refusal(error, f"Writing {to}") from error


def _take_up(folder: Path, key: Mapping[str, Any], resumes: bool) -> None:
    """Keep what a start with the same key has left in the folder, if the stage resumes; else begin it anew."""
    if resumes and read_json(folder / _STAGE) == key:
        remove_asides(folder)
        return
    remove(folder)
    folder.mkdir()
    write_json(folder / _STAGE, key)


def _complete(folder: Path, to: Path, key: Mapping[str, Any]) -> Manifest | None:
    """Put a partial folder in place that was killed when all its work was done."""
    if read_json(folder / MANIFEST) is None:
        return None
    try:
        manifest = open_artifact(folder, key["kind"])
    except UserError:  # another kind's, or damaged: it is made again
        return None
    if (manifest.config, manifest.inputs) != (key["config"], key["inputs"]):
        return None
    _put_in_place(folder, to, manifest)
    return manifest


def _put_in_place(folder: Path, to: Path, manifest: Manifest) -> None:
    """Take away what is not listed, and rename the folder; what stood there goes when the new one is there."""
    keep = {*manifest.files, MANIFEST, VERIFIED}
    keep |= {parent.as_posix() for name in keep for parent in Path(name).parents}
    for path in sorted(folder.rglob("*"), reverse=True):  # what lies in a folder comes before the folder
        if path.relative_to(folder).as_posix() not in keep:
            remove(path)
    flush(folder)
    if to.exists():
        os.rename(to, _old(to))
    os.rename(folder, to)
    flush(to.parent)
    remove(_old(to))


def _tidy_finished(to: Path, locked: Path) -> None:
    """Take away what a kill has left beside a finished artifact, where nobody else is at work on it."""
    if locked.exists() or _old(to).exists():
        with contextlib.suppress(UserError, OSError), lock(locked, f"writing {to}"):
            _tidy(to)


def _tidy(to: Path) -> None:
    """What a kill between two renames leaves: an artifact that was moved out of the way goes back where there is no new
    one, and goes for good where there is."""
    if to.exists():
        remove(_old(to))
    elif _old(to).exists() and not (_partial(to) / MANIFEST).exists():
        os.rename(_old(to), to)


def _partial(to: Path) -> Path:
    return to.with_name(f".{to.name}.partial")


def _old(to: Path) -> Path:
    return to.with_name(f".{to.name}.old")


def _is_ours(path: Path) -> bool:
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))
