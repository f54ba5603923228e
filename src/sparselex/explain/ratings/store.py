"""Ratings in the workspace's database, beside the explanations: a component of its own, so that a workspace in which
nobody has rated anything never changes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sparselex.base.database import Database, Migration
from sparselex.explain.ratings.records import DEFINITIONS, HEADLINE, PEOPLE, Rating, scores
from sparselex.explain.records import Scored
from sparselex.explain.store import ExplanationStore, Scoring

_FIRST: Migration = (
    """CREATE TABLE rating (
    id TEXT PRIMARY KEY, index_id TEXT NOT NULL, latent INTEGER NOT NULL,
    a_explainer TEXT NOT NULL, a_latent INTEGER NOT NULL, a_text TEXT NOT NULL,
    b_explainer TEXT NOT NULL, b_latent INTEGER NOT NULL, b_text TEXT NOT NULL,
    positions TEXT NOT NULL, choice TEXT NOT NULL, seconds REAL NOT NULL, rater TEXT NOT NULL, written TEXT NOT NULL
) WITHOUT ROWID""",
    "CREATE INDEX rating_of ON rating (index_id, latent)",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

FIELDS = tuple(Rating.model_fields)
"""Columns of a rating, in the order of the table."""

_COLUMNS = ", ".join("index_id" if name == "index" else name for name in FIELDS)
_SELECT = f"SELECT {_COLUMNS.replace('index_id', 'index_id AS [index]')} FROM rating"

_LAST = 1000
"""Place behind all other scorers, until the run's own are arranged."""


class RatingStore:
    """The ratings in the database at `path`, which is made on first writing."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "ratings", MIGRATIONS)
        self._explanations = ExplanationStore(path)

    def add(self, ratings: Iterable[Rating]) -> int:
        """Write ratings in one transaction; those whose id is there already are left as they are. How many were new."""
        rows = [tuple(getattr(one, name) for name in FIELDS) for one in ratings]
        places = ", ".join("?" * len(FIELDS))
        with self.database.writing() as db:
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO rating ({_COLUMNS}) VALUES ({places})", rows)
            return db.total_changes - before

    def all(self, index_id: str, latents: Sequence[int] | None = None) -> list[Rating]:
        """The ratings of an index, or of some of its latents, the oldest first."""
        where, values = "index_id = ?", [index_id, *(latents or ())]
        if latents is not None:
            where += f" AND latent IN ({', '.join('?' * len(latents))})"
        return self.database.records(Rating, f"{_SELECT} WHERE {where} ORDER BY written, id", values)

    def count(self, index_id: str) -> int:
        """How many ratings of an index there are."""
        found = self.database.rows("SELECT count(*) FROM rating WHERE index_id = ?", (index_id,))
        return int(found[0][0]) if found else 0

    def score(self, index_id: str, latents: Sequence[int] | None = None) -> None:
        """Make scores of what people said, of all rated latents or of these, beside those of other scorers."""
        by_latent: dict[int, list[Rating]] = {}
        for one in self.all(index_id, latents):
            by_latent.setdefault(one.latent, []).append(one)
        scoring = Scoring(PEOPLE, HEADLINE, _LAST, PEOPLE)
        self._explanations.define(PEOPLE, DEFINITIONS)
        for latent, ratings in by_latent.items():
            for explanation in self._explanations.of_latent(index_id, latent):
                if found := scores(explanation, ratings):
                    scored = {latent: Scored(found, [])}
                    self._explanations.add_scored(index_id, explanation.explainer, scoring, scored)
