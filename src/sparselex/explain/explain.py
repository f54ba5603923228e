"""Explain every latent by a rule and score it on held-out documents: the walk."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from sparselex.base.artifacts import fingerprint
from sparselex.base.config import Config
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.explain.config import ExplainConfig
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Labels
from sparselex.explain.score import scores, values
from sparselex.explain.search import Column, search
from sparselex.explain.store import ExplanationStore
from sparselex.features.counted import KeyTable
from sparselex.features.index import FeatureIndex
from sparselex.text.splits import SPLITS, Split

_BATCH = 64


class ExplainSummary(Config):
    """What came of a run of `explain`."""

    n_explained: int
    """Latents with a rule."""

    n_abstained: int
    """Latents for which no rule beat its null."""

    n_failed: int
    """Latents that could not be treated."""

    median_f1: float | None
    """Median F1 of the rules on test documents."""

    median_null_f1: float | None
    """Median F1 of their nulls."""

    def __str__(self) -> str:
        if self.median_f1 is None:
            return f"no latent explained, {self.n_abstained:,} abstained"
        return (
            f"{self.n_explained:,} latents explained (median F1 {self.median_f1:.3f} on test documents, "
            f"null {self.median_null_f1 or 0:.3f}), {self.n_abstained:,} abstained, {self.n_failed:,} failed"
        )


class RuleExplainer:
    """Finds and scores rules for the latents of one index. Search sees train and validation; scores see test alone."""

    def __init__(self, index: FeatureIndex, config: ExplainConfig):
        self.index, self.config = index, config
        self.tables: dict[Split, KeyTable] = {split: KeyTable(index, split) for split in SPLITS}
        self.labels = Labels(index.corpus.vocabulary)

    def explain(self, latent: int) -> Explanation:
        """The rule of `latent` with its scores, or the reason why there is none."""
        columns = {split: self._column(latent, split) for split in SPLITS}
        n_active = len(columns["train"].ranks)
        if n_active < self.config.min_active:
            return self._abstain(latent, f"Active on {n_active} training tokens; {self.config.min_active} are needed.")
        found = self._search(columns)
        shifted = self._shifted(columns, latent)
        null = self._search(shifted)
        null_f1 = null.confusion.f1 if null else 0.0
        if found is None or not found.confusion.f1_low > null_f1:
            f1 = found.confusion.f1 if found else 0.0
            return self._abstain(
                latent,
                f"No short rule found: the best one reaches F1 {f1:.3f} on validation "
                f"documents, not clearly above its null {null_f1:.3f}.",
            )
        at_null = values(null.rule, self.tables["test"], shifted["test"]) if null else {}
        return Explanation(
            latent=latent,
            status="explained",
            text=found.rule.text(self.labels),
            title=found.rule.title(self.labels),
            rule=found.rule.to_json(),
            scores=scores(found.rule, self.tables["test"], columns["test"], at_null),
        )

    def _search(self, columns: dict[Split, Column]):
        return search(self.tables["train"], columns["train"], self.tables["validation"], columns["validation"])

    def _column(self, latent: int, split: Split) -> Column:
        positions, column = self.index.split_column(latent, split)
        ranks = np.searchsorted(self.tables[split].positions, positions)
        return Column(ranks, np.abs(column.astype(np.float64)))

    def _shifted(self, columns: dict[Split, Column], latent: int) -> dict[Split, Column]:
        """Every column moved by a third to two thirds of its split, so that it lies over other documents."""
        rng = generator(self.config.seed, "shift", latent)
        sizes = {split: max(1, self.tables[split].n) for split in SPLITS}
        return {
            split: columns[split].shifted(int(rng.integers(n // 3, max(n // 3 + 1, 2 * n // 3))), n)
            for split, n in sizes.items()
        }

    def _abstain(self, latent: int, reason: str) -> Explanation:
        return Explanation(latent=latent, status="abstained", text=reason, title="no short rule found")


def explain(index: FeatureIndex, config: ExplainConfig, database: Path | str) -> ExplainSummary:
    """Explain and score every latent that was ever active; latents done under this configuration are kept.

    Rows are written in small batches, each whole: killed and run again, the rest is done and the rows are the same.
    """
    store, config_id = ExplanationStore(database), fingerprint(config.to_json())
    alive = np.flatnonzero(index.table["n_active"] > 0).tolist()
    done = store.done(index.id, config_id)
    todo = [latent for latent in alive if latent not in done]
    if todo:
        explainer = RuleExplainer(index, config)
        with progress("explain", len(todo), "latents") as bar:
            for start in range(0, len(todo), _BATCH):
                batch = todo[start : start + _BATCH]
                found = [explainer.explain(latent) for latent in batch]
                store.add(index.id, config_id, version("sparselex"), found)
                bar.advance(len(batch))
    return summarise(store, index.id)


def summarise(store: ExplanationStore, index_id: str) -> ExplainSummary:
    """Counts and medians over the explanations of one index."""
    rows = list(store.rows(index_id).values())
    f1 = [row[2] for row in rows if row[2] is not None]
    null = [row[3] for row in rows if row[2] is not None and row[3] is not None]
    statuses = [row[0] for row in rows]
    return ExplainSummary(
        n_explained=statuses.count("explained"),
        n_abstained=statuses.count("abstained"),
        n_failed=statuses.count("failed"),
        median_f1=float(np.median(f1)) if f1 else None,
        median_null_f1=float(np.median(null)) if null else None,
    )
