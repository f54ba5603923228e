"""What explainers and scorers are. Their tables: `sparselex.explain.registry`; their checks: `sparselex.testing`."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from sparselex.base.figures import Failure, Figure
from sparselex.base.intervals import Floats
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut, SplitEvidence
from sparselex.explain.records import Explanation, Scored


@runtime_checkable
class Explainer(Protocol):
    """Says of a latent what it is active on. Made once for all latents of an index, as `Explainer(evidence, config)`;
    raises `UserError` for `config.options` that it does not know. It may tell a `version`, a text: what another version
    said is asked anew, and not held against what this one says."""

    explained: ClassVar[str]
    """What an explained latent has, in words that go on `share of living latents with …`."""

    def __init__(self, evidence: Evidence, config: ExplainConfig) -> None: ...

    def explain(self, latent: int) -> Explanation | Failure:
        """What the latent is active on; an abstention, with the reason, where nothing can be said; a failure where it
        could not be asked."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Holds explanations against held-out documents. Made once for all latents, as `Scorer(evidence, config)`. It may
    say which values are `better`, `higher` or `lower`."""

    definitions: ClassVar[dict[str, str]]
    """What each of its measures is, by metric."""

    headline: ClassVar[str]
    """The metric that stands for all in lists."""

    def __init__(self, evidence: HeldOut, config: ExplainConfig) -> None: ...

    def score(self, explanation: Explanation) -> Scored | Failure:
        """The scores of an explained latent, finite each (one that cannot be formed is left out), and what was said of
        single tokens; a failure where the explanation cannot be judged."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A scorer that can tell how much its scores owe to the documents at hand: intervals of medians over latents then
    are over documents as well."""

    def without_groups(self, explanations: Sequence[Explanation]) -> dict[str, Floats]:
        """By metric, the scores without each of several equal groups of documents, `[n_groups, n]`, of the `n`
        explanations that have that score, in their order; NaN for one that cannot be formed."""
        ...


@runtime_checkable
class Overall(Protocol):
    """A scorer that has something to say of all latents together."""

    def overall(self, prefix: str, explanations: Sequence[Explanation], validation: SplitEvidence) -> list[Figure]:
        """Figures, as `prefix/<name>`, of everything that an explainer said, abstentions and failures among it;
        `validation` is there to choose what it is held against."""
        ...
