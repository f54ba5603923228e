"""Where explanations came from that were not made here, in the workspace's database: beside the explanations
themselves, as a component of its own, so that a workspace into which nothing was imported never changes.

What their files say of how good they are stands here too, and not among the scores: there everything was measured on
held-out documents beside a null.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, FiniteFloat

from sparselex.base.config import Config
from sparselex.base.database import Database, Migration
from sparselex.base.reading import parse_json

_FIRST: Migration = (
    """CREATE TABLE imported (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, format TEXT NOT NULL,
    source TEXT NOT NULL, sha256 TEXT NOT NULL, method TEXT NOT NULL, author TEXT NOT NULL, scores TEXT NOT NULL,
    PRIMARY KEY (index_id, latent, explainer)
) WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

_COLUMNS = "latent, explainer, format, source, sha256, method, author, scores"


class TheirScore(Config):
    """A score as a file has it: not measured here, and without a null."""

    scorer: str
    """By which method, as the file calls it."""

    metric: str
    """Which measure, as the file calls it."""

    value: FiniteFloat
    """The score."""

    n: int
    """Observations behind it; 0 where the file does not say."""

    definition: str
    """What is known of it."""


def _scores_of(given: Any) -> Any:
    """A list, or what it is in JSON, as the database keeps it."""
    return tuple(parse_json(given)) if isinstance(given, str) else given


class Imported(Config):
    """Where one explanation came from."""

    latent: int
    """Number in the dictionary."""

    explainer: str
    """The name that its explainer has here."""

    format: str
    """In whose format it came: delphi, neuronpedia, openai or plain."""

    source: str
    """Name of the file or folder."""

    sha256: str
    """Checksum of what was read there."""

    method: str
    """How it was made, and by which model, as the file says; empty where it does not."""

    author: str
    """Who says it, as the file says; empty where it does not."""

    scores: Annotated[tuple[TheirScore, ...], BeforeValidator(_scores_of)]
    """What the file says of how good it is."""


class ImportedStore:
    """What is kept of imports in the database at `path`."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "imported", MIGRATIONS)

    def add(self, index_id: str, rows: Iterable[Imported]) -> None:
        """Write these in one transaction, in the place of what was there of the same latents and explainers."""
        values = [(index_id, *_values(row)) for row in rows]
        with self.database.writing() as db:
            db.executemany(
                f"INSERT OR REPLACE INTO imported (index_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values
            )

    def of_latent(self, index_id: str, latent: int) -> list[Imported]:
        """Where the explanations of a latent came from that were imported, by explainer."""
        query = f"SELECT {_COLUMNS} FROM imported WHERE index_id = ? AND latent = ? ORDER BY explainer"
        return self._read(query, index_id, latent)

    def of_index(self, index_id: str) -> list[Imported]:
        """The same of every latent of an index, by explainer and latent."""
        return self._read(f"SELECT {_COLUMNS} FROM imported WHERE index_id = ? ORDER BY explainer, latent", index_id)

    def _read(self, query: str, *values: Any) -> list[Imported]:
        return self.database.records(Imported, query, values)


def _values(row: Imported) -> list[Any]:
    values = row.to_json()
    return [json.dumps(values[name]) if name == "scores" else values[name] for name in _COLUMNS.split(", ")]
