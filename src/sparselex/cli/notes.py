"""`sparselex notes`: what people wrote, as a file."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.base.formats import plain
from sparselex.base.workspace import Workspace

_MOST_BYTES = 2**26
"""A longer file is none of ours."""


def notes(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all that people wrote to this Markdown file.")
    ] = None,
    take_up: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Add what such a file says; given twice, once.")
    ] = None,
) -> None:
    """Write labels, stars, notes, lists and case studies to a Markdown file, or take up such a file."""
    from sparselex.server.notes.markdown import FIRST, from_markdown, to_markdown
    from sparselex.server.notes.merging import merge
    from sparselex.server.notes.store import NoteStore

    if (export is None) == (take_up is None):
        raise UserError("Neither or both were asked for.", "one of --export FILE and --import FILE", "choose one.")
    store = NoteStore(Workspace(workspace).database)
    if take_up is not None:
        done = merge(store, from_markdown(_read(take_up), str(take_up)))
        print(plain("\n  ".join([done.summary, *done.conflicts])))
    elif export is not None:
        if export.exists() and not _read(export).startswith(f"# {FIRST}\n"):
            raise UserError(f"{export} is no file of notes.", "a new file, or one of notes", "choose another name.")
        write_file(export, to_markdown(store.everything()).encode())
        print(plain(f"written to {export}"))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size <= _MOST_BYTES:
            return path.read_text(encoding="utf-8-sig")
        why = f"is longer than {_MOST_BYTES:,} bytes"
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}"
    raise UserError(f"{path} {why}.", "a file that `sparselex notes --export` wrote", "check the path.")
