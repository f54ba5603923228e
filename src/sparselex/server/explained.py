"""What is said of latents, as pages show it: every explainer's words, and in lists the headline of each."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sparselex.explain.records import DEFINITIONS, Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.server.stamps import Stamp, stamp

HEADLINE = "f1"
"""The measure that stands in lists for explanations of the first explainer."""


class Headline(NamedTuple):
    """What a list says of one explanation."""

    explainer: str
    status: str
    title: str
    metric: str
    """The measure that stands for it."""
    score: float | None
    null: float | None


Headlines = Mapping[int, list[Headline]]
"""By latent, a headline for each explainer, in the order of the explainers."""


class Explained:
    """The read side of the workspace's explanations."""

    def __init__(self, database: Path):
        self._store = ExplanationStore(database)
        self._headlines: dict[str, tuple[tuple[Stamp, ...], Headlines]] = {}

    def of(self, index: FeatureIndex, latent: int) -> list[Explanation]:
        """Every explanation of a latent, by explainer."""
        found = self._store.of_latent(index.id, latent)
        return [found] if found else []

    def headlines(self, index: FeatureIndex) -> Headlines:
        """What lists say of each explained latent; read again when the database has changed."""
        database = self._store.path
        now = (stamp(database), stamp(database.with_name(database.name + "-wal")))
        if index.id not in self._headlines or self._headlines[index.id][0] != now:
            self._headlines[index.id] = (now, self._read(index))
        return self._headlines[index.id][1]

    def search(self, index: FeatureIndex, words: str) -> list[int]:
        """Latents with an explanation that contains all of `words`."""
        return self._store.search(index.id, words)

    def _read(self, index: FeatureIndex) -> Headlines:
        found: dict[int, list[Headline]] = defaultdict(list)
        for latent, (status, title, score, null) in self._store.rows(index.id).items():
            found[latent].append(Headline("rule", status, title, HEADLINE, score, null))
        return dict(found)


def title_of(headlines: Headlines, latent: int) -> str:
    """The first explainer's words for a latent; empty if there are none."""
    found = headlines.get(latent)
    return found[0].title if found else ""


def definitions_of(explainer: str, scorer: str) -> dict[str, str]:
    """What each measure of a scorer is."""
    return DEFINITIONS
