"""Taking up a file: what it says is added; where this workspace says something else, its own stays and that is told."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from sparselex.server.notes.list_operations import AddItem, Comment, WriteList
from sparselex.server.notes.operations import Operation, Overtaken, SetLabel, SetStar, WriteNote
from sparselex.server.notes.records import Notebook, Study
from sparselex.server.notes.store import NoteStore
from sparselex.server.notes.study_operations import PinIt, WriteStudy


class Merged(NamedTuple):
    """What came of a file."""

    n_added: int
    """Things that were not here before."""

    n_same: int
    """Things that were here as they are in the file."""

    conflicts: list[str]
    """What is otherwise here than in the file, both told; kept as it is here."""

    @property
    def summary(self) -> str:
        """In words."""
        conflicts = f"; {len(self.conflicts)} are otherwise here and stay so:" if self.conflicts else ""
        return f"{self.n_added} taken up, {self.n_same} were here already{conflicts or '.'}"


def merge(store: NoteStore, notes: Notebook) -> Merged:
    """Take up all of `notes`, in one transaction; the same again changes nothing. Raises `UserError` as writing
    does."""
    n_added, n_same, conflicts = 0, 0, list[str]()
    with store.database.writing() as db:
        for what, text, operation in _operations(store, notes):
            before = db.total_changes
            try:
                operation.apply(db)
            except Overtaken as error:
                conflicts.append(f"{what}: here “{error.now}”, in the file “{text}”")
                continue
            changed = db.total_changes > before
            n_added, n_same = n_added + changed, n_same + (not changed)
        _keep_times(db, notes)
    return Merged(n_added, n_same, conflicts)


def _operations(store: NoteStore, notes: Notebook) -> Iterator[tuple[str, str, Operation]]:
    """What each thing is, its text, and the operation that adds it to what is here: as if nobody had seen that."""
    for label in notes.labels:
        name = f"Label of {label.run} {label.latent}"
        yield name, label.text, SetLabel(do="label", **label.feature.to_json(), text=label.text)
    for star in notes.stars:
        yield "Star", "", SetStar(do="star", **star.to_json(), on=True)
    for note in notes.notes:
        noted = WriteNote(do="note", **note.feature.to_json(), id=note.id, text=note.text)
        yield f"Note {note.id} of {note.run} {note.latent}", note.text, noted
    there = {one.name: one for one in store.lists()}
    for one in notes.lists:
        here = there.get(one.name)
        if here is None or one.words or one.test_text:
            # A list of which nothing is said yet is not otherwise.
            seen = here.version if here and not here.words and not here.test_text else 0
            said = WriteList(do="list", name=one.name, words=one.words, test_text=one.test_text, version=seen)
            yield f"List {one.name}", "\n\n".join(filter(None, (one.words, one.test_text))), said
    for item in notes.items:
        yield "Item", "", AddItem(do="list-add", **item.feature.to_json(), list=item.list)
        if item.text:
            said_of = Comment(do="comment", **item.feature.to_json(), list=item.list, text=item.text)
            yield f"Comment on {item.run} {item.latent} in {item.list}", item.text, said_of
    for study in notes.studies:
        yield f"Case study {study.title}", study.text, WriteStudy(do="study", **_without(study, "version", "written"))
    for pin in notes.pins:
        yield "Pin", "", PinIt(do="pin", **pin.to_json())


def _without(study: Study, *names: str) -> dict[str, Any]:
    return study.model_dump(exclude=set(names))


def _keep_times(db: sqlite3.Connection, notes: Notebook) -> None:
    """When what was added here just now was begun elsewhere."""
    for table, rows in (("note_text", notes.notes), ("note_study", notes.studies)):
        times = [(one.written, one.id, one.written) for one in rows]
        db.executemany(f"UPDATE {table} SET written = ? WHERE id = ? AND written > ?", times)
