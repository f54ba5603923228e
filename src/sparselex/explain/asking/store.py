"""How explanations and scores were got by asking, in the workspace's database: beside the explanations themselves, as a
component of its own, so that a workspace in which nobody was asked never changes."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, FiniteFloat

from sparselex.base.config import Config
from sparselex.base.database import Database, Migration
from sparselex.base.reading import parse_json

_FIRST: Migration = (
    """CREATE TABLE asked (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, judge TEXT NOT NULL,
    model TEXT NOT NULL, variant TEXT NOT NULL, n_requests INTEGER NOT NULL, n_prompt_tokens INTEGER NOT NULL,
    n_answer_tokens INTEGER NOT NULL, n_unanswered INTEGER NOT NULL,
    PRIMARY KEY (index_id, latent, explainer, judge)
) WITHOUT ROWID""",
)

_SEEN: Migration = (
    """CREATE TABLE seen (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, judge TEXT NOT NULL,
    position INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (index_id, latent, explainer, judge, position)
) WITHOUT ROWID""",
)

_ABOUT: Migration = (
    """CREATE TABLE asked_about (
    index_id TEXT NOT NULL, explainer TEXT NOT NULL, about TEXT NOT NULL, PRIMARY KEY (index_id, explainer)
) WITHOUT ROWID""",
)

_CANDIDATE: Migration = (
    """CREATE TABLE candidate (
    index_id TEXT NOT NULL, latent INTEGER NOT NULL, explainer TEXT NOT NULL, place INTEGER NOT NULL,
    text TEXT NOT NULL, failed INTEGER NOT NULL, kept INTEGER NOT NULL, judge TEXT NOT NULL, metric TEXT NOT NULL,
    value REAL, ci_low REAL, ci_high REAL, n INTEGER NOT NULL,
    PRIMARY KEY (index_id, latent, explainer, place)
) WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST,)
"""Never changed once published: a new version adds one."""

Flag = Annotated[bool, BeforeValidator(bool)]
"""Whether something is so; SQLite keeps 0 or 1."""

_COLUMNS = "latent, explainer, judge, model, variant, n_requests, n_prompt_tokens, n_answer_tokens, n_unanswered"

_CANDIDATE_COLUMNS = "latent, explainer, place, text, failed, kept, judge, metric, value, ci_low, ci_high, n"

_SEEN_COLUMNS = "latent, explainer, judge, position, kind, text"


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
    """Questions that were answered, those from the cache among them."""

    n_prompt_tokens: int
    """Tokens that the model read, as its server counts them."""

    n_answer_tokens: int
    """Tokens that it wrote."""

    n_unanswered: int
    """Windows, or explanations, of which nothing could be read."""


class Seen(Config):
    """One window as a judge read it."""

    latent: int
    """Number in the dictionary."""

    explainer: str
    """Who explained."""

    judge: str
    """Who judged."""

    position: int
    """Position in the corpus that stands for the window, as in the judgement."""

    kind: str
    """What the window is: active, silent, or what makes it easily mistaken."""

    text: str
    """What the judge was shown, marks and all."""


class Candidate(Config):
    """One of several explanations that were drawn of a latent, and what it was worth on validation documents."""

    latent: int
    """Number in the dictionary."""

    explainer: str
    """Who explained."""

    place: int
    """Which draw it was, from 0."""

    text: str
    """The explanation; of a draw that failed the reason."""

    failed: Flag
    """Whether it gave no explanation."""

    kept: Flag
    """Whether it is the one that was kept."""

    judge: str
    """By whom they were chosen among."""

    metric: str
    """That judge's foremost measure."""

    value: FiniteFloat | None
    """It on validation documents; None where it could not be judged, or where all draws say the same."""

    ci_low: FiniteFloat | None
    """Lower end of the 95 % interval; None where it cannot be made."""

    ci_high: FiniteFloat | None
    """Upper end."""

    n: int
    """Windows behind the value."""


class About(Config):
    """What a language model was asked of one explainer's explanations when it was asked last."""

    explainer: str
    """Who explained."""

    explained: str
    """What an explained latent has, in words; empty where the explanations were there already."""

    model: str
    """The language model that was asked."""

    latents: tuple[int, ...]
    """The latents that were drawn."""

    writing_id: str
    """The configuration of the explanations; empty where they were there already."""

    judging_id: str
    """That of the judgements."""

    judges: dict[str, str]
    """By judge why it scored nothing; empty where it did."""

    def after(self, before: "About | None") -> "About":
        """The same with what was asked before under this configuration: scores by other judges stand, and of latents
        the longer list holds the shorter one, since both are drawn in one order."""
        told = lambda one: (one.model, one.writing_id, one.judging_id)
        if before is None or told(before) != told(self):
            return self
        latents = max(self.latents, before.latents, key=len)
        return self.model_copy(update={"latents": latents, "judges": before.judges | self.judges})


class AskedStore:
    """What is kept of asking in the database at `path`."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "asked", MIGRATIONS)
        # A component of its own: what was asked before windows were kept is read as it was.
        self._windows = Database(path, "seen", (_SEEN,))
        self._candidates = Database(path, "candidate", (_CANDIDATE,))
        self._about = Database(path, "asked_about", (_ABOUT,))

    def add(
        self, index_id: str, rows: Iterable[Asked], seen: Iterable[Seen] = (), candidates: Iterable[Candidate] = ()
    ) -> None:
        """Write these in one transaction, in the place of what was there of the same latents. A new explanation takes
        with it what was told of judging the one before, and what that was chosen from."""
        self._windows.update()
        self._candidates.update()
        with self.database.writing() as db:
            for row in sorted(rows, key=lambda row: row.judge):
                of_it, values = ("", ()) if not row.judge else (" AND judge = ?", (row.judge,))
                for table in ("asked", "seen") if row.judge else ("asked", "seen", "candidate"):
                    where = "index_id = ? AND latent = ? AND explainer = ?"
                    db.execute(
                        f"DELETE FROM {table} WHERE {where}{of_it}", (index_id, row.latent, row.explainer, *values)
                    )
                _insert(db, "asked", _COLUMNS, index_id, [row])
            # Of two windows that share a position the first, as of their judgements.
            _insert(db, "seen", _SEEN_COLUMNS, index_id, seen)
            _insert(db, "candidate", _CANDIDATE_COLUMNS, index_id, candidates)

    def candidates(self, index_id: str, latent: int) -> list[Candidate]:
        """The explanations that were drawn of one latent, where there was a choice, by explainer and draw."""
        query = f"SELECT {_CANDIDATE_COLUMNS} FROM candidate WHERE index_id = ? AND latent = ? "
        return self._candidates.records(Candidate, f"{query}ORDER BY explainer, place", (index_id, latent))

    def seen(self, index_id: str, latent: int) -> list[Seen]:
        """The windows that judges read for one latent."""
        query = (
            f"SELECT {_SEEN_COLUMNS} FROM seen WHERE index_id = ? AND latent = ? ORDER BY explainer, judge, position"
        )
        return self._windows.records(Seen, query, (index_id, latent))

    def tell(self, index_id: str, about: About) -> None:
        """Keep what an explainer's explanations were asked about, in the place of what was kept of it before."""
        row = (index_id, about.explainer, json.dumps(about.to_json()))
        with self._about.writing() as db:
            db.execute("INSERT OR REPLACE INTO asked_about VALUES (?, ?, ?)", row)

    def about(self, index_id: str) -> list[About]:
        """That of every explainer of an index, by name. Raises `UserError` for a row that is none."""
        query = "SELECT about FROM asked_about WHERE index_id = ? ORDER BY explainer"
        rows = self._about.records(tuple[str], query, (index_id,))
        return [About.parse(parse_json(row), "what was asked") for (row,) in rows]

    def of_latent(self, index_id: str, latent: int) -> list[Asked]:
        """How everything was got that a model said of one latent."""
        query = f"SELECT {_COLUMNS} FROM asked WHERE index_id = ? AND latent = ? ORDER BY explainer, judge"
        return self.database.records(Asked, query, (index_id, latent))

    def of_index(self, index_id: str, explainer: str) -> list[Asked]:
        """How everything was got that one explainer said of an index, and that was said of it."""
        query = f"SELECT {_COLUMNS} FROM asked WHERE index_id = ? AND explainer = ? ORDER BY latent, judge"
        return self.database.records(Asked, query, (index_id, explainer))


def _insert(db: sqlite3.Connection, table: str, columns: str, index_id: str, rows: Iterable[Config]) -> None:
    names = columns.split(", ")
    values = [(index_id, *(getattr(row, name) for name in names)) for row in rows]
    places = ", ".join("?" * (1 + len(names)))
    db.executemany(f"INSERT OR IGNORE INTO {table} (index_id, {columns}) VALUES ({places})", values)
