"""Explanations and scores as records. No tensors here: the browser reads these."""

from typing import Literal

from sparselex.base.config import Config


class Score(Config):
    """How well an explanation predicts the activations on held-out tokens."""

    metric: str
    """Which measure; `DEFINITIONS` says what it is."""

    value: float
    """The measure on all counted tokens of the test documents."""

    ci_low: float | None
    """Lower end of the 95 % bootstrap interval over documents; None where it cannot be made."""

    ci_high: float | None
    """Upper end of the interval."""

    n: int
    """Counted tokens of the test documents."""

    null: float | None
    """The same measure of the rule that the same search finds when the activations are shifted away from their
    tokens."""


class Explanation(Config):
    """What is said of one latent: a rule, an abstention, or a failure. Never a placeholder."""

    latent: int
    """Number in the dictionary."""

    explainer: Literal["rule"] = "rule"
    """Who explained."""

    status: Literal["explained", "abstained", "failed"]
    """Whether there is a text to score."""

    text: str
    """The explanation; for an abstention or a failure, the reason."""

    title: str
    """A few words for lists."""

    rule: dict | None = None
    """The predictor of which `text` is the print."""

    scores: list[Score] = []
    """Scores on the test documents; empty unless explained."""


DEFINITIONS = {
    "f1": "harmonic mean of precision and recall of `active`, every counted test token judged, at the natural base "
    "rate",
    "precision": "share of the tokens the rule calls active on which the latent is active",
    "recall": "share of the latent's active tokens that the rule calls active",
    "mass_recall": "share of the latent's total activation that lies on tokens the rule calls active",
    "auroc": "chance that an active token gets a higher predicted activation than an inactive one, ties counting half",
    "correlation": "Pearson correlation of predicted and true activation over all counted test tokens",
}
"""What each measure of a rule is."""
