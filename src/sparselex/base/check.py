"""Everything in a workspace read and compared with its checksums, whether or not it was before."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import MANIFEST, open_artifact, read_manifest, verify_file
from sparselex.base.config import Config
from sparselex.base.database import integrity
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace


class Checked(Config):
    """One thing that was looked at."""

    place: str
    """Where it lies in the workspace."""

    n_files: int = 0
    """Files that were read."""

    n_bytes: int = 0
    """Their size."""

    fault: str = ""
    """What is wrong with it; empty if nothing is."""

    todo: str = ""
    """What to do about that."""

    unfinished: str = ""
    """Why it is there, if it is what a command leaves that has not ended: no damage, and taken up again."""


def check_workspace(workspace: Workspace, read_rows: Callable[[Path], None] = lambda path: None) -> Iterator[Checked]:
    """Look at every artifact, run and table of a workspace, one after the other; nothing is changed.

    `read_rows` reads every row of the database at a path, and raises `UserError` for one that is not as it was written.
    """
    for manifest in sorted(workspace.path.rglob(MANIFEST)):
        if not any(part.startswith(".") for part in manifest.relative_to(workspace.path).parts):
            yield _looked_at(workspace, manifest.parent, _artifact)
    for run in workspace.begun():
        yield _looked_at(workspace, workspace.run(run) / "run.json", partial(_run, workspace, run))
    if workspace.database.exists():
        yield _looked_at(workspace, workspace.database, partial(_database, read_rows))
    for left in sorted(path for path in workspace.path.rglob(".*") if path.suffix in _LEFT):
        yield Checked(place=_place(workspace, left), unfinished=_UNFINISHED)


_LEFT = (".partial", ".old", ".copy", ".lock")
"""Endings of hidden files and folders beside artifacts that are being made."""

_UNFINISHED = "unfinished work of a command that is at work, or was stopped and goes on when it is given again"


def _looked_at(workspace: Workspace, path: Path, look: Callable[[Path], dict[str, Any]]) -> Checked:
    place = _place(workspace, path)
    try:
        return Checked(place=place, **look(path))
    except UserError as error:
        return Checked(place=place, fault=error.given, todo=error.todo)
    except OSError as error:
        return Checked(place=place, fault=f"cannot be read: {error.strerror}", todo="see that you may read it.")


def _artifact(folder: Path) -> dict[str, Any]:
    manifest = open_artifact(folder, read_manifest(folder).kind)
    for name in manifest.files:
        verify_file(folder, name, manifest)
    there = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = {path.as_posix() for path in there if not any(part.startswith(".") for part in path.parts)}
    n_bytes = sum(entry.n_bytes for entry in manifest.files.values())
    found: dict[str, Any] = {"n_files": len(manifest.files), "n_bytes": n_bytes}
    if more := sorted(visible - {*manifest.files, MANIFEST}):
        found["fault"] = f"holds {', '.join(more[:5])}, which its manifest does not list"
        found["todo"] = "move that elsewhere: what lies in an artifact goes when the artifact is made again."
    return found


def _run(workspace: Workspace, run: str, path: Path) -> dict[str, Any]:
    corpus = workspace.card(run).corpus
    if corpus and not (workspace.corpora / corpus / MANIFEST).is_file():
        return {
            "fault": f"reads the corpus {corpus}, which is not there",
            "todo": f"run `sparselex train {workspace.typed} --run {run}`: it is made again.",
        }
    return {"n_files": 1, "n_bytes": path.stat().st_size}


def _database(read_rows: Callable[[Path], None], path: Path) -> dict[str, Any]:
    if said := integrity(path):
        return {"fault": said, "todo": "move it away; `sparselex explain` makes explanations anew."}
    read_rows(path)
    return {"n_files": 1, "n_bytes": path.stat().st_size}


def _place(workspace: Workspace, path: Path) -> str:
    return path.relative_to(workspace.path).as_posix()
