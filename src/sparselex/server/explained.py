"""What is said of latents, as pages read it: every explainer's words, and what lists and searches need of all."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparselex.base.figures import Failure
from sparselex.explain.asking.store import Asked, AskedStore, Candidate, Seen
from sparselex.explain.imported import Imported, ImportedStore
from sparselex.explain.records import Entry, Explanation, Foremost, Headline, Judgement, Score, ScoreRow, TextRow
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.features.searched import byte_counts, occurrences
from sparselex.server.page import Impossible
from sparselex.server.stamps import Stamp, database_stamps

T = TypeVar("T")

_PATIENCE = 20
"""What takes so long to read is read again at most after so many times that: `explain` writes all the time."""

_AT_ONCE_S = 0.05
"""What takes less is read again at each change."""


_WITHOUT = "leave `score` out of the address, or choose another."


class Said(NamedTuple):
    """One explanation of a latent, and what scorers made of it."""

    explanation: Explanation
    scores: list[Score]
    judgements: list[Judgement]
    failures: list[Failure]
    asked: list[Asked]
    """How that was got, where a language model was asked."""

    seen: list[Seen]
    """The windows that judges of that kind read."""

    imported: list[Imported]
    """Where it came from, if it was not made here."""

    candidates: list[Candidate]
    """What it was chosen from, where several were drawn."""


class Entries:
    """What lists say of latents, looked up when it is asked for: hundreds of thousands would fill the memory."""

    def __init__(self, store: ExplanationStore, index_id: str):
        self._store, self._index_id = store, index_id

    def get(self, latent: int) -> list[Entry]:
        """An entry for each explainer of a latent, in the order of the explainers."""
        return self.of([latent]).get(latent, [])

    def of(self, latents: Sequence[int]) -> dict[int, list[Entry]]:
        """The same of several latents; those of which nothing is said are left out."""
        return self._store.entries_of(self._index_id, latents)

    def texts(self, latents: Sequence[int]) -> dict[int, dict[str, str]]:
        """What each explainer says of some latents, whole and as it is searched."""
        found: dict[int, dict[str, str]] = {}
        for one in self._store.texts_of(self._index_id, latents):
            found.setdefault(one.latent, {})[one.explainer] = _searched(one)
        return found


class Headlines(NamedTuple):
    """One score of all latents: by whom, of whose explanations, by which measure."""

    by: Foremost | None
    """None where nothing is scored."""

    score: NDArray[np.float64]
    """`[d_sae]`, NaN for what is not known, here and in the others."""

    null: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    n: NDArray[np.float64]
    """Observations behind each score."""

    @property
    def explainer(self) -> str:
        """Whose explanations are scored; empty where nothing is."""
        return self.by.explainer if self.by else ""

    def of(self, latent: int) -> Headline | None:
        """The score of one latent; None where it has none."""
        if self.by is None or np.isnan(self.score[latent]):
            return None
        ends = (self.null, self.low, self.high)
        null, low, high = (None if np.isnan(end[latent]) else float(end[latent]) for end in ends)
        value, n = float(self.score[latent]), int(self.n[latent])
        return Headline(self.by.scorer, self.by.metric, value, null, low, high, n)


class Texts(NamedTuple):
    """All explanations of an index as one text."""

    latents: NDArray[np.int64]
    """`[n]`, of whom each line is, ascending."""

    explainers: NDArray[np.str_]
    """`[n]`, who says it; those of one latent in the order of the explainers."""

    text: bytes
    """Lines, one an explanation."""

    folded: bytes
    """The same in lower case: other bytes, but as many lines."""

    ends: NDArray[np.int64]
    """`[n]`, where in `text` each line ends, its line end included."""

    folded_ends: NDArray[np.int64]
    """The same in `folded`."""

    counts: NDArray[np.int64]
    """`[256]`, how often each byte stands in `folded`: of a word the rarest is looked for first."""

    def with_words(self, words: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Latents of explanations in which the words stand, upper and lower case alike, and how many bytes into them,
        once for each place."""
        needle = words.lower().encode(errors="replace")
        starts = occurrences(np.frombuffer(self.folded, dtype=np.uint8), needle, self.counts)
        return self.lines(starts, self.folded_ends)

    def lines(self, places: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Latents of the lines, which end at `ends`, that bytes lie in, and how far into them."""
        places = places[places < (ends[-1] if len(ends) else 0)]
        at = np.searchsorted(ends, places, "right")
        return self.latents[at], places - np.concatenate([[0], ends])[at]


class Explained:
    """The read side of the workspace's explanations."""

    def __init__(self, database: Path):
        self._database, self._store, self._asked = database, ExplanationStore(database), AskedStore(database)
        self._imported = ImportedStore(database)
        self._foremost: _Read[list[Foremost]] = _Read()
        self._headlines: _Read[Headlines] = _Read()
        self._fingerprints: _Read[str] = _Read()
        self._texts: _Read[Texts] = _Read()
        self._definitions: _Read[dict[str, dict[str, str]]] = _Read()

    def of(self, index: FeatureIndex, latent: int) -> list[Said]:
        """Every explanation of a latent, in the order of the explainers."""
        explanations = self._store.of_latent(index.id, latent)
        if not explanations:
            return []
        scores, judgements = self._store.scores(index.id, latent=latent), self._store.judgements(index.id, latent)
        asked, seen = self._asked.of_latent(index.id, latent), self._asked.seen(index.id, latent)
        imported = self._imported.of_latent(index.id, latent)
        drawn = self._asked.candidates(index.id, latent)
        # What was asked of an explanation that another has taken the place of since says nothing of that one.
        judged = self._store.judged(index.id, latent)
        there = lambda one: not one.judge or (one.explainer, one.judge) in judged
        return [
            Said(
                explanation,
                [score for score in scores if score.explainer == explanation.explainer],
                [one for one in judgements if one.explainer == explanation.explainer],
                self._store.failures(index.id, latent=latent, explainer=explanation.explainer),
                [one for one in asked if one.explainer == explanation.explainer and there(one)],
                [one for one in seen if one.explainer == explanation.explainer and there(one)],
                [one for one in imported if one.explainer == explanation.explainer],
                [one for one in drawn if one.explainer == explanation.explainer],
            )
            for explanation in explanations
        ]

    def definitions(self) -> dict[str, dict[str, str]]:
        """What each measure is, by scorer and metric; read again when the database has changed."""
        return self._definitions.of("", self._now(), self._store.definitions)

    def entries(self, index: FeatureIndex) -> Entries:
        """What lists say of each latent."""
        return Entries(self._store, index.id)

    def foremost(self, index: FeatureIndex) -> list[Foremost]:
        """By whom explanations are scored and by which measure, in the order of explainers and scorers; read again when
        the database has changed."""
        return self._foremost.of(index.id, self._now(), lambda: self._store.foremost(index.id))

    def headlines(self, index: FeatureIndex, key: str = "") -> Headlines:
        """One score of all latents, which `key` names; else that of most latents, of several the first. Read again
        when the database has changed. Raises `Impossible` for a key of which there are no scores."""
        there = {one.key: one for one in self.foremost(index)}
        if key and key not in there:
            given = (
                f"The list shows no score called {key!r:.200}: of each explainer and scorer it has the foremost one."
            )
            raise Impossible(given, " or ".join(there) or "no score", _WITHOUT)
        by = there[key] if key else max(there.values(), key=lambda one: one.n_latents, default=None)
        read = lambda: _headlines(by, self._store.scored_by(index.id, by) if by else [], index.d_sae)
        return self._headlines.of(f"{index.id} {by.key if by else ''}", self._now(), read)

    def fingerprint(self, index: FeatureIndex) -> str:
        """A hash of all explanations; made again when the database has changed."""
        return self._fingerprints.of(index.id, self._now(), lambda: self._store.fingerprint(index.id))

    def texts(self, index: FeatureIndex) -> Texts:
        """All explanations, to be searched; read again when the database has changed."""
        read = lambda: _texts([row for row in self._store.texts(index.id) if 0 <= row.latent < index.d_sae])
        return self._texts.of(index.id, self._now(), read)

    def _now(self) -> tuple[Stamp, ...]:
        return database_stamps(self._database)


def title_of(entries: Entries | Mapping[int, list[Entry]], latent: int, explainer: str = "") -> str:
    """An explainer's words for a latent, the first one's where it has none or nobody is named; empty if there are none.
    Of several latents ask for their entries first (`Entries.of`): each by itself is a question to the database."""
    found = entries.get(latent) or []
    ordered = sorted(found, key=lambda entry: entry.explainer != explainer)
    return ordered[0].title if ordered else ""


class _Read(Generic[T]):
    """What was read of the database by index, with the state that it had: of what was asked for last."""

    def __init__(self, most: int = 16) -> None:
        self._kept: OrderedDict[str, tuple[Any, float, float, T]] = OrderedDict()
        self._most = most

    def of(self, index_id: str, now: Any, read: Callable[[], T]) -> T:
        """What was read, or is now, where the state is another one."""
        if index_id in self._kept:
            state, begun, took, found = self._kept[index_id]
            if state == now or (took > _AT_ONCE_S and time.monotonic() - begun < _PATIENCE * took):
                return found
        begun = time.monotonic()
        found = read()
        self._kept[index_id] = (now, begun, time.monotonic() - begun, found)
        self._kept.move_to_end(index_id)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return found


def _headlines(by: Foremost | None, rows: list[ScoreRow], d_sae: int) -> Headlines:
    columns = np.full((5, d_sae), np.nan)
    there = [row for row in rows if 0 <= row.latent < d_sae]
    if there:
        latents, *values = zip(*there, strict=True)
        columns[:, np.array(latents)] = np.array(values, dtype=np.float64)
    return Headlines(by, *columns)


def _searched(one: TextRow) -> str:
    return _without_quotes(one.text) if one.printed else one.text


def _texts(rows: list[TextRow]) -> Texts:
    lines = [_searched(row).replace("\n", " ") + "\n" for row in rows]
    exact = [line.encode(errors="replace") for line in lines]
    lower = [line.lower().encode(errors="replace") for line in lines]
    ends = lambda parts: np.cumsum([len(part) for part in parts], dtype=np.int64)
    latents, folded = np.array([row.latent for row in rows], dtype=np.int64), b"".join(lower)
    explainers = np.array([row.explainer for row in rows], dtype=np.str_)
    counts = byte_counts(np.frombuffer(folded, dtype=np.uint8))
    return Texts(latents, explainers, b"".join(exact), folded, ends(exact), ends(lower), counts)


def _without_quotes(text: str) -> str:
    """The print of a rule without the quotes around each token: else all rules would be found by a quotation mark."""
    parts = text.replace("\\\\", "\0").replace('\\"', "\1").split('"')
    return "".join(parts).replace("\1", '"').replace("\0", "\\")
