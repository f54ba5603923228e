"""Explanations and scores in the workspace's database: one SQLite file, many readers, one writer."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.explain.records import Explanation

_SCHEMA = """
CREATE TABLE IF NOT EXISTS explanation (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, config_id TEXT NOT NULL,
    code_version TEXT NOT NULL, status TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, record TEXT NOT NULL,
    f1 REAL, null_f1 REAL, PRIMARY KEY (index_id, latent, explainer)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS explanation_text USING fts5(text, index_id UNINDEXED, latent UNINDEXED);
"""


class ExplanationStore:
    """Explanations by index and latent. Opens the database at `path`, making it on first writing."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def add(self, index_id: str, config_id: str, code_version: str, explanations: list[Explanation]) -> None:
        """Write explanations in one transaction, replacing older ones of the same latents."""
        with self._connection(write=True) as db:
            for e in explanations:
                f1 = next((score for score in e.scores if score.metric == "f1"), None)
                key = (index_id, e.latent, e.explainer)
                db.execute("DELETE FROM explanation_text WHERE index_id = ? AND latent = ?", key[:2])
                db.execute(
                    "INSERT OR REPLACE INTO explanation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *key,
                        config_id,
                        code_version,
                        e.status,
                        e.title,
                        e.text,
                        json.dumps(e.to_json()),
                        f1.value if f1 else None,
                        f1.null if f1 else None,
                    ),
                )
                db.execute("INSERT INTO explanation_text VALUES (?, ?, ?)", (f"{e.title} {e.text}", *key[:2]))

    def done(self, index_id: str, config_id: str) -> set[int]:
        """Latents already explained under this configuration."""
        query = "SELECT latent FROM explanation WHERE index_id = ? AND config_id = ?"
        return {row[0] for row in self._rows(query, (index_id, config_id))}

    def of_latent(self, index_id: str, latent: int) -> Explanation | None:
        """The explanation of one latent, or None."""
        query = "SELECT record FROM explanation WHERE index_id = ? AND latent = ?"
        rows = self._rows(query, (index_id, latent))
        return Explanation.model_validate_json(rows[0][0]) if rows else None

    def all(self, index_id: str) -> list[Explanation]:
        """Every explanation of an index, by latent."""
        query = "SELECT record FROM explanation WHERE index_id = ? ORDER BY latent"
        return [Explanation.model_validate_json(row[0]) for row in self._rows(query, (index_id,))]

    def rows(self, index_id: str) -> dict[int, tuple[str, str, float | None, float | None]]:
        """For lists: status, title, F1 and its null of every latent."""
        query = "SELECT latent, status, title, f1, null_f1 FROM explanation WHERE index_id = ?"
        return {row[0]: row[1:] for row in self._rows(query, (index_id,))}

    def search(self, index_id: str, words: str) -> list[int]:
        """Latents whose explanation contains all of `words`, taken literally, best match first."""
        query = "SELECT latent FROM explanation_text WHERE explanation_text MATCH ? AND index_id = ? ORDER BY rank"
        quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words.split())
        return [row[0] for row in self._rows(query, (quoted, index_id))] if quoted else []

    def _rows(self, query: str, values: tuple) -> list[tuple]:
        if not self.path.exists():
            return []
        with self._connection(write=False) as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _connection(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as db:
                if write:
                    db.execute("PRAGMA journal_mode = WAL")
                db.executescript(_SCHEMA) if write else None
                with db:
                    yield db
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"The database {self.path} cannot be used: {error}.",
                "the workspace's SQLite file, not locked by another writer",
                "if it is locked, wait and run the same command again; if it is damaged, move it away: "
                "`sparselex explain` makes it anew.",
            ) from error
