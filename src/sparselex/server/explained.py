"""What is said of latents, as pages read it: every explainer's words, and in lists the headlines of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.server.stamps import Stamp, stamp


class Headline(NamedTuple):
    """A scorer's foremost score of one explanation, as lists show it."""

    scorer: str
    metric: str
    value: float
    null: float | None


class Entry(NamedTuple):
    """What lists say of one latent by one explainer."""

    explainer: str
    status: str
    title: str
    headlines: tuple[Headline, ...]
    """By scorer, the first scorer first; empty unless explained and scored."""


Entries = Mapping[int, list[Entry]]
"""By latent, an entry for each explainer, in the order of the explainers."""


class Explained:
    """The read side of the workspace's explanations."""

    def __init__(self, database: Path):
        self.store = ExplanationStore(database)
        self._entries: dict[str, tuple[tuple[Stamp, ...], Entries]] = {}

    def of(self, index: FeatureIndex, latent: int) -> list[Explanation]:
        """Every explanation of a latent, by explainer."""
        found = self.store.of_latent(index.id, latent)
        return [found] if found else []

    def entries(self, index: FeatureIndex) -> Entries:
        """What lists say of each explained latent; read again when the database has changed."""
        database = self.store.path
        now = (stamp(database), stamp(database.with_name(database.name + "-wal")))
        if index.id not in self._entries or self._entries[index.id][0] != now:
            rows = self.store.rows(index.id)
            self._entries[index.id] = (now, {latent: [_entry(*row)] for latent, row in rows.items()})
        return self._entries[index.id][1]

    def search(self, index: FeatureIndex, words: str) -> list[int]:
        """Latents with an explanation that contains all of `words`."""
        return self.store.search(index.id, words)


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


def _entry(status: str, title: str, f1: float | None, null: float | None) -> Entry:
    return Entry("rule", status, title, () if f1 is None else (Headline("exact", "f1", f1, null),))
