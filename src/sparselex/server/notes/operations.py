"""What can be written: each operation changes the row that it names, in one transaction, and no other.

Who changes a text says which version they saw. Where another was written meanwhile, nothing is changed and they are
told what stands there now (`Overtaken`). An empty text takes a label, a note or a comment away.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.server.notes import schema
from sparselex.server.notes.records import Feature, Id, Line, Text, Version
from sparselex.server.notes.schema import OF_FEATURE

_NOTHING: Mapping[str, Any] = {}


class Overtaken(UserError):
    """Somebody wrote meanwhile. `now` is what stands there, `version` which text that is."""

    def __init__(self, what: str, now: str, version: int):
        super().__init__(
            f"{what} was changed meanwhile.", "a change of the text as it is now", "look at it, and save yours again."
        )
        self.now, self.version = now, version


class NotThere(UserError):
    """The list, note or case study that something was to be done to is not there."""

    def __init__(self, what: str):
        super().__init__(f"{what} is not there (any more).", "one that is there", "look at the page of notes.")


class Written(Config):
    """What an operation has done."""

    id: str = ""
    """What it was done to, where that has an id or a name."""

    version: Version = 0
    """Which text stands there now; 0 where there is none."""


class Operation(Config):
    """One change."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Make the change. Raises `Overtaken`, or `NotThere`."""
        raise NotImplementedError


class SetLabel(Operation, Feature):
    """A reader's own words for a feature."""

    do: Literal["label"]
    """Which operation it is."""

    text: Line
    """The words; empty to take the label away."""

    version: Version = 0
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Put the label in the place of the version that was seen."""
        return put(db, "note_label", self.feature.to_json(), self.text, self.version)


class SetStar(Operation, Feature):
    """A bookmark."""

    do: Literal["star"]
    """Which operation it is."""

    on: bool
    """Whether it is to be starred."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Star the feature, or not."""
        if self.on:
            db.execute("INSERT OR IGNORE INTO note_star (run, dictionary, latent) VALUES (?, ?, ?)", self.key)
        else:
            db.execute(f"DELETE FROM note_star WHERE {OF_FEATURE}", self.key)
        return Written()


class WriteNote(Operation, Feature):
    """A note of a feature."""

    do: Literal["note"]
    """Which operation it is."""

    id: Id
    """What it goes by."""

    text: Text
    """The note; empty to take it away."""

    version: Version = 0
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Put the note in the place of the version that was seen."""
        first = {**self.feature.to_json(), "written": now()}
        return put(db, "note_text", {"id": self.id}, self.text, self.version, first)


def put(
    db: sqlite3.Connection, table: str, key: dict[str, Any], text: str, seen: int, first: Mapping[str, Any] = _NOTHING
) -> Written:
    """Put a text in the place of the version that was seen of the row with this key; `first` are the other columns of a
    row that is new. Raises `Overtaken`, unless the text that stands there is the same."""
    where, id_ = " AND ".join(f"{name} = ?" for name in key), str(key.get("id", ""))
    query = f"SELECT text, version FROM {table} WHERE {where}"
    there, version = db.execute(query, tuple(key.values())).fetchone() or ("", 0)
    if there == text:
        return Written(id=id_, version=version)
    if version != seen:
        raise Overtaken("The text", there, version)
    if not text:
        db.execute(f"DELETE FROM {table} WHERE {where}", tuple(key.values()))
        return Written(id=id_)
    fresh = next_version(db)
    if version:
        db.execute(f"UPDATE {table} SET text = ?, version = ? WHERE {where}", (text, fresh, *key.values()))
    else:
        row = {**key, **first, "text": text, "version": fresh}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
    return Written(id=id_, version=fresh)


def remove(db: sqlite3.Connection, table: str, key: str, value: str, seen: int) -> Written:
    """Take away the row of which this version was seen, and what belongs to it. Raises `Overtaken`."""
    found = db.execute(f"SELECT version FROM {table} WHERE {key} = ?", (value,)).fetchone()
    if found and found[0] != seen:
        raise Overtaken(f"{value!r}", "", found[0])
    db.execute(f"DELETE FROM {table} WHERE {key} = ?", (value,))
    return Written(id=value)


def next_version(db: sqlite3.Connection) -> int:
    """A version that no text has had."""
    ((version,),) = db.execute(schema.NEXT_VERSION).fetchall()
    return int(version)


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
