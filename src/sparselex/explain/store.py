"""Explanations, scores and judgements in the workspace's database, by index, latent, explainer and scorer."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.database import Database
from sparselex.base.figures import Failure
from sparselex.base.files import fingerprint
from sparselex.base.release import own_version
from sparselex.explain import schema
from sparselex.explain.records import (
    Entry,
    Explanation,
    Foremost,
    Headline,
    Judgement,
    Score,
    Scored,
    ScoreRow,
    Status,
    TextRow,
)


class Scoring(NamedTuple):
    """By whom explanations are scored."""

    scorer: str
    """Name of the scorer."""

    headline: str
    """Its foremost metric, for lists."""

    place: int
    """Its place among the run's scorers; the first is 0."""

    config_id: str
    """The configuration under which it scores."""


class ExplanationStore:
    """The explanations in the database at `path`, which is made on first writing."""

    def __init__(self, path: Path | str):
        self.database = Database(path, "explain", schema.MIGRATIONS, schema.READABLE_FROM)

    def add(self, index_id: str, config_id: str, explanations: Iterable[Explanation]) -> None:
        """Write explanations in one transaction, replacing what the same explainers said of the same latents, and the
        scores of that. Where the same is said again its scores stay, which others may have paid for."""
        with self.database.writing() as db:
            for e in explanations:
                predictor = None if e.predictor is None else json.dumps(e.predictor)
                who, said = (index_id, e.latent, e.explainer), (e.status, e.title, e.text, predictor)
                by = (config_id, own_version())
                if not db.execute(schema.SAID_AGAIN, (*by, *who, *said)).rowcount:
                    _delete(db, index_id, e)
                    db.execute(schema.ADD_EXPLANATION, (*who, *said, *by))

    def remove(self, index_id: str, explainer: str, latents: Iterable[int]) -> None:
        """Take away what an explainer said of some latents, and the scores of that."""
        query = "DELETE FROM explanation WHERE index_id = ? AND explainer = ? AND latent = ?"
        with self.database.writing() as db:
            db.executemany(query, [(index_id, explainer, latent) for latent in latents])

    def add_scored(
        self,
        index_id: str,
        explainer: str,
        scoring: Scoring,
        found: Mapping[int, Scored | Failure],
        config_ids: Mapping[int, str] | None = None,
    ) -> None:
        """Write, in one transaction, what a scorer made of an explainer's explanations, by latent; `config_ids` take
        the place of the configuration's where that of each is its own."""
        scorer, headline, place, config_id = scoring
        with self.database.writing() as db:
            for latent, scored in found.items():
                ((explanation,),) = db.execute(schema.EXPLANATION_ID, (index_id, latent, explainer)).fetchall()
                failure = scored.reason if isinstance(scored, Failure) else None
                under = config_id if config_ids is None else config_ids[latent]
                row = (explanation, scorer, place, headline, failure, under, own_version())
                db.execute("DELETE FROM scoring WHERE explanation = ? AND scorer = ?", row[:2])
                db.execute("INSERT INTO scoring VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                if not isinstance(scored, Failure):
                    _add_rows(db, explanation, scorer, scored)

    def arrange(self, index_id: str, explainer: str, scorers: Sequence[str]) -> None:
        """Put the scorers of an explainer's explanations into this order; those that scored once and are not named
        come after, in the order they had."""
        ordered = dict.fromkeys([*scorers, *self.scorers(index_id, explainer)])
        rows = [(place, scorer, index_id, explainer) for place, scorer in enumerate(ordered)]
        with self.database.writing() as db:
            db.executemany(schema.ARRANGE, rows)

    def define(self, scorer: str, definitions: Mapping[str, str]) -> None:
        """Keep what each measure of a scorer is, so that pages can say it where the scorer is not installed."""
        rows = [(scorer, metric, words) for metric, words in definitions.items()]
        with self.database.writing() as db:
            db.executemany("INSERT OR REPLACE INTO metric VALUES (?, ?, ?)", rows)

    def statuses(self, index_id: str, explainer: str, config_id: str) -> dict[int, Status]:
        """What came of each latent that the explainer has treated under this configuration."""
        query = "SELECT latent, status FROM explanation WHERE index_id = ? AND explainer = ? AND config_id = ?"
        return dict(self.database.records(tuple[int, Status], query, (index_id, explainer, config_id)))

    def scored(self, index_id: str, explainer: str, scorer: str, config_id: str) -> set[int]:
        """Latents whose explanation the scorer has treated under this configuration, with whatever outcome."""
        query = (
            "SELECT latent FROM scoring JOIN explanation ON id = explanation "
            "WHERE index_id = ? AND explainer = ? AND scorer = ? AND scoring.config_id = ?"
        )
        found = self.database.records(tuple[int], query, (index_id, explainer, scorer, config_id))
        return {latent for (latent,) in found}

    def scoring_ids(self, index_id: str, explainer: str, scorer: str) -> dict[int, str]:
        """Under which configuration the scorer has treated each latent's explanation, with whatever outcome."""
        query = (
            "SELECT latent, scoring.config_id FROM scoring JOIN explanation ON id = explanation "
            "WHERE index_id = ? AND explainer = ? AND scorer = ?"
        )
        return dict(self.database.records(tuple[int, str], query, (index_id, explainer, scorer)))

    def judged(self, index_id: str, latent: int) -> set[tuple[str, str]]:
        """Of one latent, whose explanation was treated by which scorer: their names."""
        query = "SELECT explainer, scorer FROM scoring JOIN explanation ON id = explanation "
        query += "WHERE index_id = ? AND latent = ?"
        return set(self.database.records(tuple[str, str], query, (index_id, latent)))

    def scorers(self, index_id: str, explainer: str) -> list[str]:
        """Everybody who scored an explainer's explanations, in their order."""
        return [name for (name,) in self.database.records(tuple[str], schema.SCORERS, (index_id, explainer))]

    def unscored(self, index_id: str, explainer: str, scorer: str) -> set[int]:
        """Latents whose explanation the scorer could not score."""
        query = (
            "SELECT latent FROM scoring JOIN explanation ON id = explanation "
            "WHERE index_id = ? AND explainer = ? AND scorer = ? AND failure IS NOT NULL"
        )
        return {latent for (latent,) in self.database.records(tuple[int], query, (index_id, explainer, scorer))}

    def explainers(self, index_id: str) -> list[tuple[str, int, int]]:
        """Who says something of an index, by name: of how many latents, and how many of these are explained."""
        query = (
            "SELECT explainer, COUNT(*), SUM(status = 'explained') FROM explanation WHERE index_id = ? "
            "GROUP BY explainer ORDER BY explainer"
        )
        return self.database.records(tuple[str, int, int], query, (index_id,))

    def scores_by_latent(self, index_id: str, explainer: str, scorer: str) -> dict[int, list[Score]]:
        """What one scorer made of one explainer's explanations, by latent, in the order of its measures."""
        where = "index_id = ? AND explainer = ? AND score.scorer = ?"
        found: dict[int, list[Score]] = {}
        query = schema.SCORES.replace("SELECT ", "SELECT latent, ", 1) + f" WHERE {where} ORDER BY latent, score.place"
        for row in self.database.rows(query, (index_id, explainer, scorer)):
            found.setdefault(row[0], []).append(Score(**dict(zip(Score.model_fields, row[1:], strict=True))))
        return found

    def scores_of(self, index_id: str, explainer: str) -> list[tuple[int, Score]]:
        """What all scorers made of one explainer's explanations, with the latents, in the scorers' order."""
        query = schema.SCORES.replace("SELECT ", "SELECT latent, ", 1)
        order = "latent, scoring.place, score.place"
        rows = self.database.rows(
            f"{query} WHERE index_id = ? AND explainer = ? ORDER BY {order}", (index_id, explainer)
        )
        return [(row[0], Score(**dict(zip(Score.model_fields, row[1:], strict=True)))) for row in rows]

    def of_latent(self, index_id: str, latent: int) -> list[Explanation]:
        """What every explainer says of one latent, rules first, then by the explainers' names."""
        return self._explanations(index_id=index_id, latent=latent)

    def all(self, index_id: str, explainer: str) -> list[Explanation]:
        """Every explanation of an index by one explainer, by latent."""
        return self._explanations(index_id=index_id, explainer=explainer)

    def scores(self, index_id: str, *, latent: int | None = None, explainer: str | None = None) -> list[Score]:
        """Scores of an index, of one latent or one explainer where these are given; by latent, explainer, and the
        scorers' places."""
        where, values = _where(index_id=index_id, latent=latent, explainer=explainer)
        order = "latent, explainer, scoring.place, score.place"
        return self.database.records(Score, f"{schema.SCORES} WHERE {where} ORDER BY {order}", values)

    def judgements(self, index_id: str, latent: int) -> list[Judgement]:
        """What was said of single held-out tokens for one latent, by explainer, scorer and position."""
        query = f"{schema.JUDGEMENTS} WHERE index_id = ? AND latent = ? ORDER BY explainer, scorer, position"
        return self.database.records(Judgement, query, (index_id, latent))

    def said_by_latent(self, index_id: str, explainer: str, scorer: str) -> dict[int, list[tuple[float, float | None]]]:
        """Of every latent the tokens or windows that a scorer judged by one explainer's words: the activation there,
        and what was said."""
        query = (
            "SELECT latent, expected, said FROM judgement JOIN explanation ON id = explanation "
            "WHERE index_id = ? AND explainer = ? AND scorer = ? ORDER BY latent, position"
        )
        found: dict[int, list[tuple[float, float | None]]] = {}
        rows = self.database.records(tuple[int, float, float | None], query, (index_id, explainer, scorer))
        for latent, expected, said in rows:
            found.setdefault(latent, []).append((expected, said))
        return found

    def failures(self, index_id: str, **columns: Any) -> list[Failure]:
        """Scorings that gave no score, with the reasons; those of one `latent`, `explainer` or `scorer` where these are
        given."""
        where, values = _where(index_id=index_id, **columns)
        query = f"{schema.FAILURES} WHERE failure IS NOT NULL AND {where} ORDER BY latent, explainer, place"
        rows = self.database.records(tuple[int, str, str], query, values)
        return [Failure(subject=f"{scorer} of latent {latent}", reason=why) for latent, scorer, why in rows]

    def entries(self, index_id: str) -> dict[int, list[Entry]]:
        """For lists: of every latent what each explainer says, with the foremost score of each scorer."""
        return _entries(self.database.records(_EntryRow, schema.ENTRIES, (index_id,)))

    def entries_of(self, index_id: str, latents: Sequence[int]) -> dict[int, list[Entry]]:
        """The same of some latents."""
        return _entries(self.database.records(_EntryRow, schema.ENTRIES_OF, (index_id, json.dumps(list(latents)))))

    def foremost(self, index_id: str) -> list[Foremost]:
        """By whom explanations of an index are scored, each scorer with its foremost measure: rules first, then by the
        explainers' names, and the scorers in their order."""
        return self.database.records(Foremost, schema.FOREMOST, (index_id,))

    def scored_by(self, index_id: str, by: Foremost) -> list[ScoreRow]:
        """That one score of every latent that has it."""
        values = (by.scorer, by.metric, index_id, by.explainer)
        return self.database.records(ScoreRow, schema.SCORED_BY, values)

    def texts(self, index_id: str) -> list[TextRow]:
        """Every explanation of an index, by latent and in the explainers' order."""
        return _texts(self.database.records(_Text, schema.TEXTS, (index_id,)))

    def texts_of(self, index_id: str, latents: Sequence[int]) -> list[TextRow]:
        """The same of some latents."""
        return _texts(self.database.records(_Text, schema.TEXTS_OF, (index_id, json.dumps(list(latents)))))

    def explained(self, index_id: str) -> list[tuple[int, str]]:
        """Every latent of an index that has an explanation, with each of its explainers."""
        query = "SELECT latent, explainer FROM explanation WHERE index_id = ? AND status = 'explained' ORDER BY 1, 2"
        return self.database.records(tuple[int, str], query, (index_id,))

    def fingerprint(self, index_id: str) -> str:
        """A hash of all explanations of an index."""
        query = "SELECT explainer, latent, status, text FROM explanation WHERE index_id = ? ORDER BY 1, 2"
        return fingerprint([list(row) for row in self.database.rows(query, (index_id,))])

    def definitions(self) -> dict[str, dict[str, str]]:
        """What each measure is, by scorer and metric."""
        found: dict[str, dict[str, str]] = {}
        for scorer, metric, words in self.database.records(tuple[str, str, str], schema.METRICS):
            found.setdefault(scorer, {})[metric] = words
        return found

    def latents(self) -> list[tuple[str, int]]:
        """Every latent of which something is said, with the id of its index."""
        return self.database.records(tuple[str, int], "SELECT DISTINCT index_id, latent FROM explanation")

    def _explanations(self, **columns: Any) -> list[Explanation]:
        where, values = _where(**columns)
        query = f"{schema.EXPLANATIONS} WHERE {where} ORDER BY latent, {schema.BY_EXPLAINER}"
        return self.database.records(Explanation, query, values)


_Number = float | None
_EntryRow = tuple[int, str, Status, str, str | None, str | None, _Number, _Number, _Number, _Number, int | None]
"""What `schema.ENTRIES` selects."""

_Text = tuple[int, str, str, int]
"""What `schema.TEXTS` selects."""


def _texts(rows: list[_Text]) -> list[TextRow]:
    return [TextRow(latent, explainer, text, bool(printed)) for latent, explainer, text, printed in rows]


def _entries(rows: list[_EntryRow]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = {}
    for (latent, explainer, status, title), group in groupby(rows, key=lambda row: row[:4]):
        headlines = tuple(Headline(*row[4:]) for row in group if row[5] is not None)  # type: ignore[arg-type]
        found.setdefault(latent, []).append(Entry(explainer, status, title, headlines))
    return found


def check_rows(path: Path) -> None:
    """Read every row of the database at `path`, as pages do. Raises `UserError` for one that is not as it was
    written."""
    store = ExplanationStore(path)
    store.definitions()
    for index_id, latent in store.latents():
        for read in (store.of_latent, store.judgements):
            read(index_id, latent)
        store.scores(index_id, latent=latent)
        store.failures(index_id, latent=latent)
    for index_id in {index_id for index_id, _ in store.latents()}:
        store.entries(index_id)


def _delete(db: sqlite3.Connection, index_id: str, e: Explanation) -> None:
    query = "DELETE FROM explanation WHERE index_id = ? AND latent = ? AND explainer = ?"
    db.execute(query, (index_id, e.latent, e.explainer))


def _add_rows(db: sqlite3.Connection, explanation: int, scorer: str, scored: Scored) -> None:
    scores = [
        (explanation, scorer, s.metric, place, s.value, s.ci_low, s.ci_high, s.n, s.null)
        for place, s in enumerate(scored.scores)
    ]
    judgements = [(explanation, scorer, j.position, j.expected, j.said) for j in scored.judgements]
    db.executemany("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", scores)
    db.executemany("INSERT INTO judgement VALUES (?, ?, ?, ?, ?)", judgements)


def _where(**columns: Any) -> tuple[str, list[Any]]:
    """A condition on the columns that are given, and its values."""
    given = {name: value for name, value in columns.items() if value is not None}
    return " AND ".join(f"{name} = ?" for name in given), list(given.values())
