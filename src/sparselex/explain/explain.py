"""Explain every latent and score what is said on held-out documents: the walk."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from sparselex.base.errors import UserError
from sparselex.base.estimates import Apart
from sparselex.base.figures import Better, Failure, Figure, Figures
from sparselex.base.files import fingerprint
from sparselex.base.progress import progress
from sparselex.base.staging import check_replaced, stage
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.figures import score_figures, share_figure
from sparselex.explain.overall import effective_documents
from sparselex.explain.protocols import Explainer, Grouped, Overall, Scorer
from sparselex.explain.records import Explanation, Score, Scored, Status
from sparselex.explain.registry import EXPLAINERS, SCORERS, made_by
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.explain.summary import KIND, ExplainSummary
from sparselex.explain.workers import Item, Result, Workers, n_workers
from sparselex.features.index import FeatureIndex

_BATCH = 64


def explain(
    index: FeatureIndex, config: ExplainConfig, database: Path | str, to: Path | str, *, inputs: Mapping[str, str]
) -> ExplainSummary:
    """Explain and score every latent that was ever active, and write the figures of that to the artifact `to`.

    Explanations and scores go into the database in small batches, each whole; what is there under this configuration is
    kept, so that a walk that was killed goes on, and its rows are the same. What fails never takes the place of an
    explanation under other options: it is counted, and asked again by the next walk. `inputs` names the id of the
    index. Raises `UserError` for options that the explainer does not know, where `to` may not be replaced, and where
    everything fails and something was explained before.
    """
    walk = _Walk(index, config, ExplanationStore(database))
    if todo := walk.todo():
        walk.run(todo, to)
        walk.check_worth()
    # What failed is asked again by the next walk, whose figures then are others.
    failed = {"failed": fingerprint(sorted(walk.failed))} if walk.failed else {}
    with stage(to, KIND, config, {**inputs, **failed, **made_by(config.explainer)}) as staging:
        if not staging.made:
            figures, notes = walk.finish()
            Figures(figures=figures).write(staging.folder)
            staging.finish(notes)
    return ExplainSummary.of(to)


class _Walk:
    """The latents of one index under one configuration, and what of them is in the store."""

    def __init__(self, index: FeatureIndex, config: ExplainConfig, store: ExplanationStore):
        self.index, self.config, self.store, self.name = index, config, store, config.explainer
        values = {key: value for key, value in config.to_json().items() if key != "scorers"}
        self.config_id = fingerprint({**values, **made_by(config.explainer)})
        self.scorer_ids = {name: fingerprint([self.config_id, name]) for name in config.scorers}
        self.failed = dict[int, Explanation]()
        """Failures of latents that have an explanation under other options, which they do not take away."""
        store.database.update()
        self.done = {
            scorer: store.scored(index.id, self.name, scorer, config_id)
            for scorer, config_id in self.scorer_ids.items()
        }

    def todo(self) -> list[int]:
        """Latents that are to be explained, or whose explanation is to be scored."""
        statuses = self.store.statuses(self.index.id, self.name, self.config_id)
        explained = {latent for latent, status in statuses.items() if status == "explained"}
        unscored: set[int] = set().union(*(explained - done for done in self.done.values()))
        alive = np.flatnonzero(self.index.table["n_active"] > 0).tolist()
        return [latent for latent in alive if latent not in statuses or latent in unscored]

    def run(self, todo: list[int], to: Path | str) -> None:
        """Explain and score these latents, batch by batch, where the artifact `to` may be written then."""
        there = self._there()
        explainer = self._explainer() if set(todo) - there.keys() else None
        check_replaced(to, self.config)  # nothing was said yet
        scorers = self._scorers()
        with ExitStack() as stack, progress("explain", len(todo), "latents") as bar:
            explaining = stack.enter_context(self._workers(explainer, partial(self._explained, explainer), len(todo)))
            scoring = {
                name: stack.enter_context(self._workers(scorer, scorer.score, len(todo)))
                for name, scorer in scorers.items()
            }
            batches = [todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH)]
            asked = [[latent for latent in batch if explainer and latent not in there] for batch in batches]
            coming = explaining.start(asked[0])
            for batch, following in zip(batches, [*asked[1:], []], strict=True):
                new = self._kept_before(coming())
                # The next ones are thought about while these are written and scored.
                coming = explaining.start(following)
                self.store.add(self.index.id, self.config_id, new)
                told = [there[latent] for latent in batch if latent in there] + new
                for place, (name, scorer) in enumerate(scorers.items()):
                    self._score(Scoring(name, scorer.headline, place, self.scorer_ids[name]), scoring[name], told)
                bar.advance(len(batch))

    def _kept_before(self, new: Sequence[Explanation]) -> list[Explanation]:
        """These without the failures of latents that are explained already, which are noted."""
        failed = {one.latent: one for one in new if one.status == "failed"}
        if failed:
            before = {one.latent for one in self.store.all(self.index.id, self.name) if one.status == "explained"}
            self.failed |= {latent: one for latent, one in failed.items() if latent in before}
        return [one for one in new if one.latent not in self.failed]

    def check_worth(self) -> None:
        """Raise `UserError` where nothing was explained, and there is what was explained before."""
        statuses = self.store.statuses(self.index.id, self.name, self.config_id).values()
        if self.failed and "explained" not in statuses:
            raise UserError(
                f"Nothing was explained by {self.name!r}: {len(self.failed):,} latents failed, the first as "
                f"{next(iter(self.failed.values())).text}",
                "explanations in place of those that are there",
                "see what went wrong; what was explained before stays as it was.",
            )

    def finish(self) -> tuple[list[Figure], dict[str, int]]:
        """The figures of all explanations, and how many there are of each kind."""
        self.store.arrange(self.index.id, self.name, self.config.scorers)
        stored = [one for one in self.store.all(self.index.id, self.name) if one.latent not in self.failed]
        explanations = [*stored, *self.failed.values()]
        scores = self._scores()
        figures = [share_figure(self.name, EXPLAINERS.get(self.name).explained, explanations)]
        explained = [explanation for explanation in explanations if explanation.status == "explained"]
        scorers = self._scorers()
        for place, name in enumerate(self.scorer_ids):
            kind = SCORERS.get(name)
            prefix = f"explain/{self.name}" + (f"/{name}" if place else "")
            own = [score for score in scores if score.scorer == name]
            scorer = scorers[name]
            apart = None
            if isinstance(scorer, Grouped):
                n = effective_documents(self.index.counted_tokens("test").per_document)
                apart = {metric: Apart(values, n) for metric, values in scorer.without_groups(explained).items()}
            better: Better = getattr(kind, "better", "")
            figures += score_figures(prefix, kind.headline, kind.definitions, own, better=better, apart=apart)
            if isinstance(scorer, Overall):
                figures += scorer.overall(prefix, explanations, Evidence(self.index, self.config.seed).validation)
        counts = {f"n_{status}": sum(e.status == status for e in explanations) for status in get_args(Status)}
        failed = [self.store.failures(self.index.id, explainer=self.name, scorer=name) for name in self.scorer_ids]
        n_dead = int((self.index.table["n_active"] == 0).sum())
        return figures, counts | {"n_unscored": sum(map(len, failed)), "n_dead": n_dead}

    def _scores(self) -> list[Score]:
        """Scores of what was explained under this configuration."""
        scores = self.store.scores(self.index.id, explainer=self.name)
        if not self.failed:
            return scores
        by = {name: self.store.scores_by_latent(self.index.id, self.name, name) for name in self.scorer_ids}
        return [
            one
            for latents in by.values()
            for latent, found in latents.items()
            if latent not in self.failed
            for one in found
        ]

    def _explainer(self) -> Explainer:
        return EXPLAINERS.get(self.name)(Evidence(self.index, self.config.seed), self.config)

    def _scorers(self) -> dict[str, Scorer]:
        held_out = HeldOut(self.index, self.config.seed)
        found = {name: SCORERS.get(name)(held_out, self.config) for name in self.scorer_ids}
        for name, scorer in found.items():
            self.store.define(name, scorer.definitions)
        return found

    def _there(self) -> dict[int, Explanation]:
        """Explanations under this configuration that are in the store already."""
        known = self.store.statuses(self.index.id, self.name, self.config_id).keys()
        return {e.latent: e for e in self.store.all(self.index.id, self.name) if e.latent in known}

    def _explained(self, explainer: Explainer | None, latent: int) -> Explanation:
        n_active, needed = int(self.index.table["train_n_active"][latent]), self.config.min_active
        if n_active < needed:
            words = f"Active on {n_active} training tokens; {needed} are needed."
            return self._without_words(latent, "abstained", words, "too seldom active")
        assert explainer is not None, "latents are explained only where there is someone to do it"
        found = explainer.explain(latent)
        if isinstance(found, Failure):
            return self._without_words(latent, "failed", found.reason, "could not be explained")
        if (found.latent, found.explainer) != (latent, self.name):
            raise UserError(
                f"The explainer {self.name!r} was asked for latent {latent} and answers for latent {found.latent} as "
                f"{found.explainer!r}.",
                "its own name and the latent that was asked for",
                "hold it against `sparselex.testing.check_explainer`.",
            )
        return found

    def _without_words(self, latent: int, status: Status, reason: str, title: str) -> Explanation:
        return Explanation(latent=latent, explainer=self.name, status=status, text=reason, title=title)

    def _workers(self, of: object, function: Callable[[Item], Result], n: int) -> Workers[Item, Result]:
        """Several processes for what says that it may be asked in them, and nothing but this one for what does not."""
        return Workers(function, n_workers(n) if getattr(of, "parallel", False) else 1)

    def _score(
        self, scoring: Scoring, scorer: Workers[Explanation, Scored | Failure], explanations: Sequence[Explanation]
    ) -> None:
        done = self.done[scoring.scorer]
        waiting = [e for e in explanations if e.status == "explained" and e.latent not in done]
        found = dict(zip((e.latent for e in waiting), scorer.map(waiting), strict=True))
        self.store.add_scored(self.index.id, self.name, scoring, found)
