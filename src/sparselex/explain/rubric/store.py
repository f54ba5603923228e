"""Answers to the rubric in the workspace's database: a component of its own, so that a workspace in which nobody has
answered anything never changes."""

from collections.abc import Collection, Iterable
from pathlib import Path

from sparselex.base.database import Database, Migration
from sparselex.explain.rubric.records import RubricAnswer

_FIRST: Migration = (
    """CREATE TABLE rubric (
    confidence INTEGER NOT NULL, activation INTEGER NOT NULL, logits INTEGER NOT NULL, separation INTEGER,
    specificity INTEGER NOT NULL, id TEXT PRIMARY KEY, run_index TEXT NOT NULL, kind TEXT NOT NULL,
    of_index TEXT NOT NULL, latent INTEGER NOT NULL, "interval" INTEGER NOT NULL, positions TEXT NOT NULL,
    interpretation TEXT NOT NULL, seconds REAL NOT NULL, rater TEXT NOT NULL, written TEXT NOT NULL
) WITHOUT ROWID""",
    "CREATE INDEX rubric_of ON rubric (run_index)",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

FIELDS = tuple(RubricAnswer.model_fields)
"""Columns of an answer, in the order of the table."""

_NAMES = {"index": "run_index", "of": "of_index", "interval": '"interval"'}
"""Columns that are called otherwise than the field: words of SQL."""

_COLUMNS = ", ".join(_NAMES.get(name, name) for name in FIELDS)


class RubricStore:
    """The answers in the database at `path`, which is made on first writing."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "rubric", MIGRATIONS)

    def add(self, answers: Iterable[RubricAnswer]) -> int:
        """Write answers in one transaction; those whose id is there already are left as they are. How many were new."""
        rows = [tuple(getattr(one, name) for name in FIELDS) for one in answers]
        places = ", ".join("?" * len(FIELDS))
        with self.database.writing() as db:
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO rubric ({_COLUMNS}) VALUES ({places})", rows)
            return db.total_changes - before

    def all(self, index_id: str, of: Collection[str] | None = None) -> list[RubricAnswer]:
        """The answers about a run with that index and its controls, the oldest first; of these indexes alone, where
        they are named: a control that was made anew has other latents."""
        query = f"SELECT {_COLUMNS} FROM rubric WHERE run_index = ? ORDER BY written, id"
        found = self.database.records(RubricAnswer, query, [index_id])
        return found if of is None else [one for one in found if one.of in of]

    def count(self, index_id: str) -> int:
        """How many answers about a run there are."""
        found = self.database.rows("SELECT count(*) FROM rubric WHERE run_index = ?", (index_id,))
        return int(found[0][0]) if found else 0
