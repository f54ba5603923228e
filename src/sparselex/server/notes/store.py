"""What people wrote in a workspace: read as records, written by operations."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from sparselex.base.database import Database
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.notes import list_operations, schema, study_operations
from sparselex.server.notes.operations import Operation, SetLabel, SetStar, WriteNote, Written
from sparselex.server.notes.records import Feature, Item, Label, Listed, Note, Notebook, Pin, Study
from sparselex.server.notes.schema import OF_FEATURE

Change = Annotated[
    SetLabel
    | SetStar
    | WriteNote
    | list_operations.WriteList
    | list_operations.RemoveList
    | list_operations.AddItem
    | list_operations.RemoveItem
    | list_operations.Comment
    | list_operations.MoveItem
    | study_operations.WriteStudy
    | study_operations.RemoveStudy
    | study_operations.PinIt
    | study_operations.Unpin,
    Field(discriminator="do"),
]
"""Any operation, told by its `do`."""

_CHANGE: TypeAdapter[Operation] = TypeAdapter(Change)

_BY_FEATURE = "ORDER BY run, dictionary, latent"
_BY_TIME = "ORDER BY run, dictionary, latent, written, id"
_BY_PLACE = "ORDER BY list, place, run, dictionary, latent"

_OF = tuple(
    f"SELECT 1 FROM {table} WHERE run = ?1 AND dictionary = ?2 AND latent = ?3"
    for table in ("note_label", "note_star", "note_text", "note_item", "note_pin")
)
_THERE = "SELECT " + ", ".join(
    f"EXISTS ({part})" for part in (*_OF, "SELECT 1 FROM note_list", "SELECT 1 FROM note_study")
)
"""Whether there is anything of a feature in each table, and any list or case study."""


def change(values: Any) -> Operation:
    """The operation that these values are. Raises `UserError` if they are none."""
    try:
        return _CHANGE.validate_python(values)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc'][1:])) or 'do'}: {one['msg']}" for one in error.errors()[:5]]
        raise UserError(
            f"What was sent cannot be written ({'; '.join(told)}).", "an operation with its fields", "correct it."
        ) from None


class NoteStore:
    """What people wrote, in the database at `path`, which is made on first writing. Raises `UserError` where that
    cannot be read or written."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "notes", schema.MIGRATIONS)

    def write(self, operation: Operation) -> Written:
        """Do one operation; it is on the disk when this returns. Raises what it raises, with nothing changed."""
        with self.database.writing() as db:
            return operation.apply(db)

    def of_feature(self, feature: Feature) -> Notebook:
        """All that is said of one feature, and of the lists and case studies only the names."""
        # Of most features nothing is written. That is told by one question where seven took 0.15 ms of each page.
        there = self.database.rows(_THERE, feature.key)
        labels, stars, notes, items, pins, lists, studies = there[0] if there else [False] * 7
        of = lambda kind, query: self._of(kind, query, feature.key)
        return Notebook(
            labels=of(Label, f"{schema.LABELS} WHERE {OF_FEATURE}") if labels else [],
            stars=of(Feature, f"{schema.STARS} WHERE {OF_FEATURE}") if stars else [],
            notes=of(Note, f"{schema.NOTES} WHERE {OF_FEATURE} {_BY_TIME}") if notes else [],
            items=of(Item, f"{schema.ITEMS} WHERE {OF_FEATURE} {_BY_PLACE}") if items else [],
            pins=of(Pin, f"{schema.PINS} WHERE {OF_FEATURE} ORDER BY study, place") if pins else [],
            lists=self.lists() if lists else [],
            studies=self.studies() if studies else [],
        )

    def n_elsewhere(self, feature: Feature) -> int:
        """Labels, stars and notes of the same run and number under other dictionaries."""
        tables = ("note_label", "note_star", "note_text")
        parts = " UNION ALL ".join(
            f"SELECT count(*) AS n FROM {table} WHERE run = ?1 AND dictionary != ?2 AND latent = ?3" for table in tables
        )
        found = self.database.rows(f"SELECT sum(n) FROM ({parts})", feature.key)
        return int(found[0][0]) if found else 0

    def everything(self) -> Notebook:
        """All that is written."""
        return Notebook(
            labels=self._of(Label, f"{schema.LABELS} {_BY_FEATURE}"),
            stars=self._of(Feature, f"{schema.STARS} {_BY_FEATURE}"),
            notes=self._of(Note, f"{schema.NOTES} {_BY_TIME}"),
            lists=self.lists(),
            items=self._of(Item, f"{schema.ITEMS} {_BY_PLACE}"),
            studies=self.studies(),
            pins=self._of(Pin, f"{schema.PINS} ORDER BY study, place, run, dictionary, latent, position"),
        )

    def lists(self) -> list[Listed]:
        """All lists, by name."""
        return self._of(Listed, f"{schema.LISTS} ORDER BY name")

    def items(self, name: str) -> list[Item]:
        """What is in a list, in its order."""
        return self._of(Item, f"{schema.ITEMS} WHERE list = ? {_BY_PLACE}", (name,))

    def studies(self) -> list[Study]:
        """All case studies, the oldest first."""
        return self._of(Study, f"{schema.STUDIES} ORDER BY written, id")

    def pins(self, study: str) -> list[Pin]:
        """What is pinned to a case study."""
        return self._of(Pin, f"{schema.PINS} WHERE study = ? ORDER BY place, position", (study,))

    def labels(self, run: str, dictionary: str) -> dict[int, str]:
        """The labels of a run's latents under one dictionary."""
        query = "SELECT latent, text FROM note_label WHERE run = ? AND dictionary = ? ORDER BY latent"
        return dict(self.database.records(tuple[int, str], query, (run, dictionary)))

    def _of(self, kind: type, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self.database.records(kind, query, values)


def texts_of(workspace: Workspace, dictionary: str, run: str) -> dict[int, str]:
    """By latent, all that people wrote of the features of a run under one dictionary (its id): labels, notes, and
    comments in lists, one a line. For searches; empty where nothing is written."""
    parts = " UNION ALL ".join(
        f"SELECT {place} AS place, latent, text FROM {table} WHERE run = ?1 AND dictionary = ?2 AND text != ''"
        for place, table in enumerate(("note_label", "note_text", "note_item"))
    )
    found: dict[int, str] = {}
    rows = NoteStore(workspace.database).database
    query = f"SELECT latent, text FROM ({parts}) ORDER BY latent, place, text"
    for latent, text in rows.records(tuple[int, str], query, (run, dictionary)):
        found[latent] = f"{found[latent]}\n{text}" if latent in found else text
    return found
