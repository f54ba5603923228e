"""How explanations and scores were got by asking, in the workspace's database: beside the explanations themselves, as a
component of its own, so that a workspace in which nobody was asked never changes."""

from collections.abc import Iterable
from pathlib import Path

from sparselex.base.config import Config
from sparselex.base.database import Database, Migration

_FIRST: Migration = (
    """CREATE TABLE asked (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, judge TEXT NOT NULL,
    model TEXT NOT NULL, variant TEXT NOT NULL, n_requests INTEGER NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_answer_tokens INTEGER NOT NULL, n_unanswered INTEGER NOT NULL,
    PRIMARY KEY (index_id, latent, explainer, judge)
) WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

_COLUMNS = "latent, explainer, judge, model, variant, n_requests, n_prompt_tokens, n_answer_tokens, n_unanswered"


class Asked(Config):
    """How one explanation was got, or one judge's scores of it."""

    latent: int
    """Number in the dictionary."""

    explainer: str
    """Who explained."""

    judge: str
    """Who judged; empty for the explanation itself."""

    model: str
    """The language model that was asked."""

    variant: str
    """By which version of the prompt, and what of the server was used."""

    n_requests: int
    """Questions, those answered from the cache among them."""

    n_prompt_tokens: int
    """Tokens that the model read, as its server counts them."""

    n_answer_tokens: int
    """Tokens that it wrote."""

    n_unanswered: int
    """Windows, or explanations, of which nothing could be read."""


class AskedStore:
    """What is kept of asking in the database at `path`."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "asked", MIGRATIONS)

    def add(self, index_id: str, rows: Iterable[Asked]) -> None:
        """Write these in one transaction, in the place of what was there of the same latents."""
        names = [name.strip() for name in _COLUMNS.split(",")]
        values = [(index_id, *(getattr(row, name) for name in names)) for row in rows]
        with self.database.writing() as db:
            db.executemany(
                f"INSERT OR REPLACE INTO asked (index_id, {_COLUMNS}) VALUES ({', '.join('?' * (1 + len(names)))})",
                values,
            )

    def of_latent(self, index_id: str, latent: int) -> list[Asked]:
        """How everything was got that a model said of one latent."""
        query = f"SELECT {_COLUMNS} FROM asked WHERE index_id = ? AND latent = ? ORDER BY explainer, judge"
        return self.database.records(Asked, query, (index_id, latent))

    def of_index(self, index_id: str, explainer: str) -> list[Asked]:
        """How everything was got that one explainer said of an index, and that was said of it."""
        query = f"SELECT {_COLUMNS} FROM asked WHERE index_id = ? AND explainer = ? ORDER BY latent, judge"
        return self.database.records(Asked, query, (index_id, explainer))
