"""What can be written of case studies."""

import sqlite3
from typing import Annotated, Literal

from pydantic import Field

from sparselex.server.notes.operations import NotThere, Operation, Overtaken, Written, next_version, now, remove
from sparselex.server.notes.records import NO_POSITION, Feature, Id, Text, Title, Version
from sparselex.server.notes.schema import OF_FEATURE


class WriteStudy(Operation):
    """A case study."""

    do: Literal["study"]
    """Which operation it is."""

    id: Id
    """What it goes by."""

    title: Title
    """Its title."""

    text: Text = ""
    """The text."""

    version: Version = 0
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Begin it, or put its text in the place of the version that was seen."""
        query = "SELECT title, text, version FROM note_study WHERE id = ?"
        title, text, there = db.execute(query, (self.id,)).fetchone() or ("", "", 0)
        if there and (title, text) == (self.title, self.text):
            return Written(id=self.id, version=there)
        if there != self.version:
            raise Overtaken(f"The case study {title or self.title!r}", text, there)
        version = next_version(db)
        db.execute(
            "INSERT INTO note_study (id, title, text, version, written) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET title = excluded.title, text = excluded.text, version = excluded.version",
            (self.id, self.title, self.text, version, now()),
        )
        return Written(id=self.id, version=version)


class RemoveStudy(Operation):
    """A case study taken away."""

    do: Literal["remove-study"]
    """Which operation it is."""

    id: Id
    """What it goes by."""

    version: Version
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Take away the version that was seen."""
        return remove(db, "note_study", "id", self.id, self.version)


class PinIt(Operation, Feature):
    """A feature, or an example of one, pinned to a case study."""

    do: Literal["pin"]
    """Which operation it is."""

    study: Id
    """Id of the case study."""

    position: Annotated[int, Field(ge=NO_POSITION, lt=10**15)] = NO_POSITION
    """Position of the example in the corpus; -1 for the feature itself."""

    example: Text = ""
    """The text around the example; empty for the feature itself."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Pin it where it is not pinned yet."""
        if not db.execute("SELECT 1 FROM note_study WHERE id = ?", (self.study,)).fetchone():
            raise NotThere("The case study")
        db.execute(
            "INSERT OR IGNORE INTO note_pin (study, run, dictionary, latent, position, example, place) "
            "SELECT ?1, ?2, ?3, ?4, ?5, ?6, coalesce(max(place), -1) + 1 FROM note_pin WHERE study = ?1",
            (self.study, *self.key, self.position, self.example),
        )
        return Written(id=self.study)


class Unpin(Operation, Feature):
    """A pin taken out."""

    do: Literal["unpin"]
    """Which operation it is."""

    study: Id
    """Id of the case study."""

    position: Annotated[int, Field(ge=NO_POSITION, lt=10**15)] = NO_POSITION
    """Position of the example in the corpus; -1 for the feature itself."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Take it out where it is there."""
        where = f"study = ? AND {OF_FEATURE} AND position = ?"
        db.execute(f"DELETE FROM note_pin WHERE {where}", (self.study, *self.key, self.position))
        return Written(id=self.study)
