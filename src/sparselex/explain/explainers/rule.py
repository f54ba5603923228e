"""Rules found by search: no language model, and the words are the predictor."""

import numpy as np

from sparselex.base.config import Config
from sparselex.base.figures import Failure
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence
from sparselex.explain.keys import KeyTable
from sparselex.explain.records import Explanation
from sparselex.explain.search import RuleSearch, beats


class RuleExplainer:
    """The best short rule of each latent, if it is better on validation documents than the best rule for the latent's
    activations moved elsewhere."""

    explained = "a rule that beats its null on validation documents"
    parallel = True
    version = "2"
    """Changed with whatever changes the rules that are found: those of different versions are not compared."""

    def __init__(self, evidence: Evidence, config: ExplainConfig):
        Config.parse(config.options, "the options of the explainer 'rule', which has none")
        self.train, self.validation = evidence.train, evidence.validation
        self._validation = KeyTable(self.validation.tokens)
        self._search = RuleSearch(KeyTable(self.train.tokens), self._validation)

    def explain(self, latent: int) -> Explanation | Failure:
        """The rule of `latent`, or the reason why there is none."""
        found = self._search.best(self.train.column(latent), self.validation.column(latent))
        null = self._search.best(self.train.shifted(latent), self.validation.shifted(latent))
        if found is None or not beats(found, null):
            return self._abstain(latent, *(chosen.confusion.f1 if chosen else 0.0 for chosen in (found, null)))
        beside = {"bits": round(found.bits, 1), "null": null.rule.to_json() if null else None}
        printer, n_vocab = self.train.texts.printer, len(self.train.vocabulary)
        return Explanation(
            latent=latent,
            explainer="rule",
            status="explained",
            text=found.rule.text(printer, n_vocab),
            title=found.rule.title(printer, n_vocab),
            predictor=found.rule.to_json() | beside,
        )

    def _abstain(self, latent: int, f1: float, null_f1: float) -> Explanation:
        ranks = self.validation.column(latent).ranks
        seen = f"{len(ranks):,} tokens of {len(np.unique(self._validation.document[ranks])):,} documents"
        reason = f"No short rule found: the best one reaches F1 {f1:.3f} on validation documents, where the latent is "
        reason += f"active on {seen}: not beyond doubt above its null {null_f1:.3f}."
        title = "no short rule found"
        return Explanation(latent=latent, explainer="rule", status="abstained", text=reason, title=title)
