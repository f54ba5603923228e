"""Artifacts: folders of files with a manifest that lists them, each with its checksum."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError, a
from sparselex.base.files import FileEntry, checksum, fingerprint, look, read_json, remembered, write_json

RecordT = TypeVar("RecordT", bound=Config)

FORMAT = 1
"""Version of the artifact format; raised when older readers could misread what we write."""

MANIFEST = "manifest.json"
VERIFIED = ".verified.json"
"""File beside the manifest in which a stage notes size, time and place on disk of the files whose checksums it has just
made: of a copy, or of a file that was touched since, it says nothing."""

_LARGEST = 2**24
"""Bytes that a manifest may have, those of a hundred thousand files: as values they take thirty times the memory."""

_VERIFIED: dict[Path, list[Any]] = {}
"""How files looked when this process compared them with their checksums."""


def _inside(name: str) -> str:
    """The name of a file inside its folder: a path is made of it, and a manifest may come from a stranger."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise ValueError(f"{name!r} is no name of a file inside the artifact's folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]


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

    files: dict[FileName, FileEntry]
    """Every file with its size and checksum."""


def identity(
    *, kind: str, config: Any, inputs: Any, notes: Any, files: Mapping[str, FileEntry], format: int = FORMAT
) -> str:
    """The id of an artifact of these contents."""
    return fingerprint([kind, format, config, inputs, notes, {name: entry.sha256 for name, entry in files.items()}])


def open_artifact(path: Path | str, kind: str) -> Manifest:
    """Read and check the manifest of artifact `path`: that it is what was written, of this kind, and that every file is
    there in its size. Raises `UserError` naming the folder or file at fault."""
    path = Path(path)
    if not (path / MANIFEST).is_file():
        raise UserError(
            f"{path} holds no sparselex artifact (no readable {MANIFEST}).",
            f"a finished {kind} folder",
            f"check the path, or run the stage that makes the {kind}.",
        )
    manifest = read_manifest(path)
    if manifest.kind != kind:
        raise UserError(f"{path} is {a(manifest.kind)} artifact.", f"{a(kind)} artifact", "check the path.")
    for name, entry in manifest.files.items():
        size = (path / name).stat().st_size if (path / name).is_file() else None
        if size != entry.n_bytes:
            raise damaged(path / name, f"{size} bytes" if size is not None else "missing", entry)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """The manifest of artifact `path`, whatever its kind. Raises `UserError` unless it is as it was written, by a
    version that we understand."""
    return remembered(path / MANIFEST, _parsed_manifest)


def record_of(kind: type[RecordT], path: Path, name: str) -> RecordT:
    """The record in the file `name` of artifact `path`. Raises `UserError` if either is not there, or not as it was
    written."""
    if not (path / MANIFEST).is_file():
        raise UserError(f"{path} holds no sparselex artifact.", f"one with a file {name}", "check the path.")
    return remembered(verified(path, name, read_manifest(path)), kind.from_file)


def _parsed_manifest(path: Path) -> Manifest:
    values = read_json(path, _LARGEST)
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{path} has format {version}.", f"at most {FORMAT}", "open it with a later version of sparselex."
        )
    if values is None:
        raise UserError(
            f"{path} is damaged: it cannot be read as JSON.",
            "the manifest as it was written",
            f"delete {path.parent} and run the stage that made it again.",
        )
    manifest = Manifest.parse(values, str(path))
    contents = {name: getattr(manifest, name) for name in ("kind", "config", "inputs", "notes", "files", "format")}
    if identity(**contents) != manifest.id:
        raise UserError(
            f"{path} is damaged: its contents and its id do not agree.",
            "the manifest as it was written",
            f"delete {path.parent} and run the stage that made it again.",
        )
    return manifest


def verified(path: Path | str, name: str, manifest: Manifest) -> Path:
    """One file of artifact `path`, compared with its checksum unless it was before, by this process or when it was
    written, and has not been touched since.

    Raises `UserError` if they differ.
    """
    file, entry = Path(path) / name, manifest.files.get(name)
    if entry is None or not file.is_file():
        raise damaged(file, "missing", entry)
    now = [entry.sha256, *look(file)]
    if _VERIFIED.get(file) != now:
        noted = read_json(Path(path) / VERIFIED, _LARGEST)
        if not isinstance(noted, dict) or noted.get(name) != now:
            verify_file(Path(path), name, manifest)
        _VERIFIED[file] = now
    return file


def note_verified(path: Path, manifest: Manifest) -> None:
    """Remember that every file of an artifact agrees with its checksum, where that has just been made of it."""
    write_json(path / VERIFIED, {name: [entry.sha256, *look(path / name)] for name, entry in manifest.files.items()})


def verify_file(path: Path, name: str, manifest: Manifest) -> None:
    """Compare one file of artifact `path` with its checksum. Raises `UserError` if they differ."""
    entry = manifest.files[name]
    if checksum(path / name) != entry.sha256:
        raise damaged(path / name, "other contents (checksum differs)", entry)


def damaged(path: Path, found: str, entry: FileEntry | None) -> UserError:
    """What is said of a file of an artifact that is not what was written."""
    return UserError(
        f"{path} is damaged: {found}.",
        f"{entry.n_bytes} bytes with SHA-256 {entry.sha256[:12]}…" if entry else "a file that the manifest lists",
        f"delete {path.parent} and run the stage that made it again.",
    )
