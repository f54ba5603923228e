"""Exact scores of rules: every counted test token is judged, none is sampled."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from sparselex.base.figures import Better, Failure, Figure
from sparselex.base.intervals import Floats, even_groups, jackknives
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import HeldOut, SplitEvidence
from sparselex.explain.keys import KeyTable
from sparselex.explain.measures import Sums, values, without_groups
from sparselex.explain.others import best_of_others
from sparselex.explain.overall import N_GROUPS, Tally, counts
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.explain.rules import Rule, rule_of
from sparselex.explain.surroundings import Surroundings
from sparselex.features.counted import Column

N_JUDGED = 4
"""Active and silent tokens of each latent whose judgements are kept, to be looked at."""


class ExactScorer:
    """Scores explanations whose predictor is a rule: `kind` and `table` and, under `null`, the rule that the same
    search finds when the activations are shifted away from their tokens."""

    definitions = {
        "f1": "harmonic mean of precision and recall of `active`, every counted test token judged, at the natural base "
        "rate",
        "precision": "share of the tokens the rule calls active on which the latent is active",
        "recall": "share of the latent's active tokens that the rule calls active",
        "mass_recall": "share of the latent's total activation that lies on tokens the rule calls active",
        "auroc": "chance that an active token gets a higher predicted activation than an inactive one, ties counting "
        "half",
        "correlation": "Pearson correlation of predicted and true activation over all counted test tokens",
    }
    headline = "f1"
    parallel = True
    better: ClassVar[Better] = "higher"

    def __init__(self, evidence: HeldOut, config: ExplainConfig):
        self.evidence, self.seed = evidence, config.seed
        self.table = KeyTable(evidence.tokens)

    def score(self, explanation: Explanation) -> Scored | Failure:
        """All measures beside the null's, and what the rule says of a few tokens."""
        rule, latent = rule_of(explanation.predictor), explanation.latent
        if rule is None:
            reason = f"the explainer {explanation.explainer!r} gives no rule, and this scorer judges nothing else"
            return Failure(subject=f"latent {latent}", reason=reason)
        column, null = self.evidence.column(latent), rule_of((explanation.predictor or {}).get("null"))
        at_null = values(null, self.table, self.evidence.shifted(latent)) if null else {}
        scores = self._scores(explanation.explainer, rule, column, at_null)
        return Scored(scores, self._judgements(explanation, rule))

    def without_groups(self, explanations: Sequence[Explanation]) -> dict[str, Floats]:
        """Every measure without each of `N_GROUPS` groups of documents, `[n_groups, n]`, where `n` counts the
        explanations that have it, in their order; NaN where it cannot be formed without a group."""
        groups = even_groups(self.table.counted.per_document, N_GROUPS)
        found: dict[str, list[Floats]] = {}
        for explanation in explanations:
            if rule := rule_of(explanation.predictor):
                column = self.evidence.column(explanation.latent)
                for name, values_of_one in without_groups(rule, self.table, column, groups).items():
                    found.setdefault(name, []).append(values_of_one)
        return {name: np.stack(parts, axis=1) for name, parts in found.items()}

    def overall(self, prefix: str, explanations: Sequence[Explanation], validation: SplitEvidence) -> list[Figure]:
        """Every latent, also one without a rule, beside the rule of another latent."""
        rules = {e.latent: rule for e in explanations if (rule := rule_of(e.predictor))}
        if not rules:
            return []
        latents = [explanation.latent for explanation in explanations]
        others = best_of_others(latents, rules, KeyTable(validation.tokens), validation.column)
        tally = Tally(self.evidence.tokens.per_document)
        for latent in latents:
            column, another = self.evidence.column(latent), rules.get(others.get(latent, -1))
            tally.add(*(counts(rule, self.table, column) for rule in (rules.get(latent), another)))
        return tally.figures(prefix)

    def _scores(self, explainer: str, rule: Rule, column: Column, at_null: dict[str, float]) -> list[Score]:
        """Every measure with its interval; one that cannot be formed (no active token) is left out."""
        sums, found = Sums(rule, self.table, column), []
        score = partial(Score, explainer=explainer, scorer="exact", n=self.table.n)
        for name, measure in jackknives(sums.per_document, sums.measures, sums.sizes).items():
            interval = measure.interval(share=name != "correlation", correlation=name == "correlation")
            if not np.isfinite(interval.value):
                continue
            low, high = interval.ends
            found.append(score(metric=name, value=interval.value, ci_low=low, ci_high=high, null=at_null.get(name)))
        return found

    def _judgements(self, explanation: Explanation, rule: Rule) -> list[Judgement]:
        """Active tokens and silent ones, each drawn at random, one a row, with what the rule says of them."""
        latent, seed = explanation.latent, self.seed
        drawn = self.evidence.examples(latent, N_JUDGED, seed) + self.evidence.silent(latent, N_JUDGED, seed)
        positions = np.array([example.position for example in drawn], dtype=np.int64)
        said = rule.predict(Surroundings(self.table.counted.corpus, positions)).tolist()
        judgement = partial(Judgement, explainer=explanation.explainer, scorer="exact")
        return [
            judgement(position=example.position, expected=abs(example.value), said=prediction)
            for example, prediction in zip(drawn, said, strict=True)
        ]
