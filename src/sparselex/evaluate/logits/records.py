"""Explanations held against logit weights, as it lies on disk: plain values, read by pages without PyTorch."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "logits"
"""Kind of the artifact, and name of its folder."""

FILE = "logits.json"
"""Its `LogitAnswers`."""

N_BINS = 50
"""Equal bins of accuracy from 0 to 1."""

PAPER = {"features": 0.74, "neurons": 0.53, "random weights": 0.50}
"""Median accuracy in Bricken et al. (2023), appendix on automated interpretability, where a language model answered."""


class AnsweredLatent(Config):
    """What the rule of one latent says of tokens."""

    latent: int
    """Its number."""

    single_token: bool
    """Whether all of its top examples are on one token."""

    accuracy: float
    """Share of the tokens answered rightly; chance is 0.5."""

    another: int
    """The latent whose rule was asked beside its own."""

    null: float
    """Share of the same tokens that the other's rule answers rightly."""

    even: float
    """Share answered rightly from so many places of its rule as are asked for of each."""

    ceiling: float
    """Share answered rightly from the places where it is active in place of those where its rule says so: what an
    explanation without fault would reach in this text."""

    n_places: int
    """Training tokens that its rule calls active."""

    hits: list[int]
    """Some of the tokens that it raises and that are said raised, the surest first."""

    missed: list[int]
    """Some that it raises and that are said not raised."""

    alarms: list[int]
    """Some drawn at random that are said raised, the surest first."""

    above: float
    """Share of tokens whose logit weight lies more than four robust standard deviations above the median."""

    gap: float
    """The widest gap in the right tail of its logit weights, in robust standard deviations."""

    n_right: int
    """Tokens on the right of that gap."""

    second_mode: bool
    """Whether the gap is wider than in 95 % of random directions of the same lengths."""


class LogitPopulation(Config):
    """The latents of one run together."""

    run: str
    """The run."""

    words: str
    """What it is, as a control of the run that is asked about; empty for that one."""

    n_explained: int
    """Latents that have a rule."""

    n_asked: int
    """Those of them that were looked at."""

    n_single: int
    """Those of a single token."""

    counts: list[int]
    """Latents by accuracy, in equal bins from 0 to 1."""

    null_counts: list[int]
    """The same with the rule of another latent."""


class LogitAnswers(Config):
    """What was measured of a run beside its controls."""

    n_tokens: int
    """Tokens that could be asked about."""

    n_train: int
    """Training tokens in which what follows was counted."""

    figures: list[Figure]
    """Of all latents together."""

    populations: list[LogitPopulation]
    """The run first, then its controls."""

    missing: dict[str, str]
    """Controls that could not be measured, and why."""

    latents: list[AnsweredLatent]
    """Latents of the run one by one, by number."""
