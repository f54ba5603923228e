"""What can be written of lists."""

import sqlite3
from typing import Annotated, Literal

from pydantic import Field

from sparselex.server.notes.operations import NotThere, Operation, Overtaken, Written, next_version, remove
from sparselex.server.notes.records import Feature, Text, Title, Version
from sparselex.server.notes.schema import OF_FEATURE


class WriteList(Operation):
    """A list with what it is of and a text to try it on."""

    do: Literal["list"]
    """Which operation it is."""

    name: Title
    """Name of the list."""

    words: Text = ""
    """What it is of."""

    test_text: Text = ""
    """A text to try its features on; empty for none."""

    version: Version = 0
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Make the list, or say anew what it is of."""
        query = "SELECT words, test_text, version FROM note_list WHERE name = ?"
        words, test_text, there = db.execute(query, (self.name,)).fetchone() or ("", "", 0)
        if there and (words, test_text) == (self.words, self.test_text):
            return Written(id=self.name, version=there)
        if there != self.version:
            raise Overtaken(f"The list {self.name!r}", "\n\n".join(filter(None, (words, test_text))), there)
        version = next_version(db)
        db.execute(
            "INSERT INTO note_list (name, words, test_text, version) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET words = excluded.words, test_text = excluded.test_text, "
            "version = excluded.version",
            (self.name, self.words, self.test_text, version),
        )
        return Written(id=self.name, version=version)


class RemoveList(Operation):
    """A list taken away, with the comments in it."""

    do: Literal["remove-list"]
    """Which operation it is."""

    name: Title
    """Name of the list."""

    version: Version
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Take away the version that was seen."""
        return remove(db, "note_list", "name", self.name, self.version)


class AddItem(Operation, Feature):
    """A feature at the end of a list, which is made if there is none of that name."""

    do: Literal["list-add"]
    """Which operation it is."""

    list: Title
    """Name of the list."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Add it where it is not there yet."""
        if not db.execute("SELECT 1 FROM note_list WHERE name = ?", (self.list,)).fetchone():
            WriteList(do="list", name=self.list).apply(db)
        db.execute(
            "INSERT OR IGNORE INTO note_item (list, run, dictionary, latent, place, text, version) "
            "SELECT ?1, ?2, ?3, ?4, coalesce(max(place), -1) + 1, '', 0 FROM note_item WHERE list = ?1",
            (self.list, *self.key),
        )
        return Written(id=self.list)


class RemoveItem(Operation, Feature):
    """A feature taken from a list."""

    do: Literal["list-remove"]
    """Which operation it is."""

    list: Title
    """Name of the list."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Take it out where it is there."""
        db.execute(f"DELETE FROM note_item WHERE list = ? AND {OF_FEATURE}", (self.list, *self.key))
        return Written(id=self.list)


class Comment(Operation, Feature):
    """What is said of a feature in a list."""

    do: Literal["comment"]
    """Which operation it is."""

    list: Title
    """Name of the list."""

    text: Text
    """The comment; empty to take it away."""

    version: Version = 0
    """Which text was seen; 0 for none."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Put the comment in the place of the version that was seen."""
        where, values = f"list = ? AND {OF_FEATURE}", (self.list, *self.key)
        found = db.execute(f"SELECT text, version FROM note_item WHERE {where}", values).fetchone()
        if not found:
            raise NotThere(f"Feature {self.latent} in the list {self.list!r}")
        if found[0] != self.text:
            if found[1] != self.version:
                raise Overtaken("The comment", *found)
            found = (self.text, next_version(db))
            db.execute(f"UPDATE note_item SET text = ?, version = ? WHERE {where}", (*found, *values))
        return Written(id=self.list, version=found[1])


class MoveItem(Operation, Feature):
    """A feature put elsewhere in a list."""

    do: Literal["move"]
    """Which operation it is."""

    list: Title
    """Name of the list."""

    by: Annotated[int, Field(ge=-10_000, le=10_000)]
    """How many places further back; forward if negative."""

    def apply(self, db: sqlite3.Connection) -> Written:
        """Move it by so many places, not beyond the ends."""
        query = "SELECT run, dictionary, latent FROM note_item WHERE list = ? ORDER BY place, run, dictionary, latent"
        order = [tuple(row) for row in db.execute(query, (self.list,))]
        if self.key not in order:
            raise NotThere(f"Feature {self.latent} in the list {self.list!r}")
        place = order.index(self.key)
        order.insert(max(0, place + self.by), order.pop(place))
        rows = [(number, self.list, *key) for number, key in enumerate(order)]
        db.executemany(f"UPDATE note_item SET place = ? WHERE list = ? AND {OF_FEATURE}", rows)
        return Written(id=self.list)
