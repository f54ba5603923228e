"""What is said of latents, as pages read it: every explainer's words, and in lists the headlines of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sparselex.base.figures import Failure
from sparselex.explain.records import Entry, Explanation, Judgement, Score
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.server.stamps import Stamp, stamp

Entries = Mapping[int, list[Entry]]
"""By latent, an entry for each explainer, in the order of the explainers."""


class Said(NamedTuple):
    """One explanation of a latent, and what scorers made of it."""

    explanation: Explanation
    scores: list[Score]
    judgements: list[Judgement]
    failures: list[Failure]


class Explained:
    """The read side of the workspace's explanations."""

    def __init__(self, database: Path):
        self._database, self._store = database, ExplanationStore(database)
        self._entries: dict[str, tuple[tuple[Stamp, ...], Entries]] = {}

    def of(self, index: FeatureIndex, latent: int) -> list[Said]:
        """Every explanation of a latent, by explainer."""
        scores, judgements = self._store.scores(index.id, latent=latent), self._store.judgements(index.id, latent)
        return [
            Said(
                explanation,
                [score for score in scores if score.explainer == explanation.explainer],
                [one for one in judgements if one.explainer == explanation.explainer],
                self._store.failures(index.id, latent=latent, explainer=explanation.explainer),
            )
            for explanation in self._store.of_latent(index.id, latent)
        ]

    def definitions(self) -> dict[str, dict[str, str]]:
        """What each measure is, by scorer and metric."""
        return self._store.definitions()

    def entries(self, index: FeatureIndex) -> Entries:
        """What lists say of each explained latent; read again when the database has changed."""
        now = (stamp(self._database), stamp(self._database.with_name(self._database.name + "-wal")))
        if index.id not in self._entries or self._entries[index.id][0] != now:
            self._entries[index.id] = (now, self._store.entries(index.id))
        return self._entries[index.id][1]

    def search(self, index: FeatureIndex, words: str) -> list[int]:
        """Latents with an explanation that contains all of `words`."""
        return self._store.search(index.id, words)


def title_of(entries: Entries, latent: int) -> str:
    """The first explainer's words for a latent; empty if there are none."""
    found = entries.get(latent)
    return found[0].title if found else ""


def score_of(entries: Entries, latent: int) -> float | None:
    """The first scorer's headline of the first explainer; None if there is none."""
    found = entries.get(latent)
    return found[0].headlines[0].value if found and found[0].headlines else None


def first_metric(entries: Entries) -> str:
    """The measure that `score_of` gives; empty where nothing is scored."""
    return next((found[0].headlines[0].metric for found in entries.values() if found[0].headlines), "")
