"""Explanations of a run and of a control, each as their scorers graded them, held against each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.evaluate.against import Against, Explained, Measured
from sparselex.evaluate.superiority import LOWEST, Documents, Sample, difference_figure, superiority_figure
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import HeldOut
from sparselex.explain.overall import effective_documents
from sparselex.explain.protocols import Grouped
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex

_OF_THE_WINDOWS = ("lookup", "unanswered")
"""What judges measure besides, and is no score of an explanation."""


class Grader(NamedTuple):
    """One scorer of one explainer's explanations, the same for the run and its controls."""

    explainer: str
    """Who explains."""

    name: str
    """Who scores."""

    kind: Any
    """The scorer's class, or the judge's."""

    place: int
    """Its place among the scorers; the first is 0."""

    config: ExplainConfig | None
    """How it is made, of one that can tell what its scores owe to documents; None of a judge."""

    @property
    def metrics(self) -> list[str]:
        """Its scores, the foremost first."""
        others = [name for name in self.kind.definitions if name not in (self.kind.headline, *_OF_THE_WINDOWS)]
        return [self.kind.headline, *others]

    @property
    def better(self) -> str:
        """Which values are better."""
        return getattr(self.kind, "better", "") or "higher"


class Graded:
    """The explanations of one run by one explainer, and their scores."""

    def __init__(self, run: str, index: FeatureIndex, store: ExplanationStore, explainer: str):
        self.run, self.index, self._store, self._explainer = run, index, store, explainer
        self.explanations: list[Explanation] = store.all(index.id, explainer)

    def measured(self) -> Measured:
        """The run in short."""
        return measured(self.run, self.index)

    def share(self, name: str, words: str) -> Figure:
        """Share of latents that were to be explained and are."""
        flags = [one.status == "explained" for one in self.explanations]
        return mean_figure(name, flags, words, over="latents", empty="no latent was to be explained")

    def samples(self, grader: Grader) -> dict[str, tuple[Sample, Sample]]:
        """By metric, the scores of explained latents that have it, and those of all latents."""
        by_latent = self._store.scores_by_latent(self.index.id, self._explainer, grader.name)
        without = self._without(grader)
        sign = -1.0 if grader.better == "lower" else 1.0
        return {
            metric: _samples(
                sign * np.array([s.value for scores in by_latent.values() for s in scores if s.metric == metric]),
                without.get(metric),
                sign,
                len(self.explanations),
            )
            for metric in grader.metrics
        }

    def documents(self, other: "Graded") -> Documents:
        """The test documents, as far as either run was counted on them."""
        mine, theirs = (one.index.counted_tokens("test").per_document for one in (self, other))
        paired = np.array_equal(mine, theirs)
        return Documents(min(map(effective_documents, (mine, theirs))), paired)

    def _without(self, grader: Grader) -> Mapping[str, Floats]:
        if grader.config is None:
            return {}
        scorer = grader.kind(HeldOut(self.index, grader.config.seed), grader.config)
        explained = [one for one in self.explanations if one.status == "explained"]
        return scorer.without_groups(explained) if isinstance(scorer, Grouped) else {}


def measured(run: str, index: FeatureIndex) -> Measured:
    """A run in short, from its index."""
    return Measured(run=run, n_latents=index.d_sae, n_alive=int((index.table["n_active"] > 0).sum()), l0=l0_of(index))


def l0_of(index: FeatureIndex) -> float:
    """Latents active on a counted token, on the mean. Raises `UserError` for a sampled index."""
    n_tokens = sum(index.n_tokens.values())
    return float(index.table["n_active"].sum() / max(1, n_tokens))


def against(control: str, mine: Graded, theirs: Graded, graders: Sequence[Grader]) -> list[Against]:
    """Every measure of every scorer, of a run and of the control of that name."""
    return [row for grader in graders for row in _of_grader(control, mine, theirs, grader)]


def explained_shares(control: str, explainer: str, mine: Graded, theirs: Graded) -> Explained:
    """Shares of latents explained, of a run and of the control of that name."""
    words = "share of the latents that were to be explained and are, of {}; the others are abstentions and failures"
    return Explained(
        control=control,
        explainer=explainer,
        run_share=mine.share(f"controls/run/{explainer}/explained_share", words.format(f"run {mine.run!r}")),
        control_share=theirs.share(
            f"controls/{control}/{explainer}/explained_share", words.format(f"its control {control!r}")
        ),
    )


def _of_grader(control: str, mine: Graded, theirs: Graded, grader: Grader) -> list[Against]:
    ours, others = mine.samples(grader), theirs.samples(grader)
    is_foremost = grader.place == 0 and grader.config is not None
    first = f"controls/{control}/{grader.explainer}" + ("" if is_foremost else f"/{grader.name}")
    return [
        _row(control, first, grader, metric, ours[metric], others[metric], (mine, theirs)) for metric in grader.metrics
    ]


def _row(
    control: str,
    first: str,
    grader: Grader,
    metric: str,
    ours: tuple[Sample, Sample],
    others: tuple[Sample, Sample],
    of: tuple[Graded, Graded],
) -> Against:
    headline = metric == grader.kind.headline
    name = first if headline else f"{first}/{metric}"
    sign = -1.0 if grader.better == "lower" else 1.0
    known = ours[0].without is not None and others[0].without is not None
    documents = of[0].documents(of[1]) if known else None
    chance = f"chance that a random latent of run {of[0].run!r} has a better {metric} than a random one of its control "
    words = f"{chance}{control!r}, equal ones counting half"
    return Against(
        control=control,
        explainer=grader.explainer,
        scorer=grader.name,
        metric=metric,
        headline=headline,
        better=grader.better,
        n=len(ours[0].values),
        n_control=len(others[0].values),
        n_asked=len(of[0].explanations),
        n_asked_control=len(of[1].explanations),
        median=_median(ours[0].values, sign),
        median_control=_median(others[0].values, sign),
        superiority=superiority_figure(
            f"{name}/superiority", ours[0], others[0], f"{words}, of those explained", documents
        ),
        superiority_of_all=superiority_figure(
            f"{name}/superiority_of_all", ours[1], others[1], f"{words}, no score being below any", documents
        ),
        difference=difference_figure(
            f"{name}/median_difference",
            ours[0],
            others[0],
            f"median {metric} of explained latents, less that of the "
            f"control {control!r}" + (", turned so that higher is better" if sign < 0 else ""),
            documents,
        ),
    )


def _samples(values: Floats, without: Floats | None, sign: float, n_all: int) -> tuple[Sample, Sample]:
    """The scores of those that have one, and of all."""
    values = values.astype(np.float64).reshape(-1)
    n_missing = n_all - len(values)
    everyone = np.concatenate([values, np.full(n_missing, LOWEST)])
    if without is None or without.shape[1] != len(values):
        return Sample(values), Sample(everyone)
    moved = sign * without
    lowest = np.full((len(moved), n_missing), LOWEST)
    all_moved = np.concatenate([np.where(np.isnan(moved), LOWEST, moved), lowest], axis=1)
    return Sample(values, moved), Sample(everyone, all_moved)


def _median(values: Floats, sign: float) -> float | None:
    return sign * float(np.median(values)) if len(values) else None
