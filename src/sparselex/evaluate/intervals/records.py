"""Explanations held against activations of every size, as it lies on disk: plain values, read by pages without
PyTorch."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "intervals"
"""Kind of the artifact, and name of its folder."""

FILE = "intervals.json"
"""Its `IntervalAnswers`."""

N_BINS = 40
"""Equal bins of rank correlation from -1 to 1."""


class SampledLatent(Config):
    """One latent: what its rule says of examples of every size."""

    latent: int
    """Its number."""

    single_token: bool
    """Whether all of its top examples are on one token."""

    n_active: int
    """Test tokens on which it is active."""

    largest: float
    """Its largest activation there."""

    n_sampled: list[int]
    """Examples drawn from each interval, the lowest first; 0 for one that has none."""

    shares: list[float | None]
    """Share of these that its rule calls active; None for an interval without any."""

    null: list[float | None]
    """The same by the rule of another latent."""

    whole: bool
    """Whether the rule is consistent in every interval that counts."""

    top_only: bool
    """Whether it is so in the upper part, and not below."""

    spearman: float
    """Rank correlation of predicted and true activation over the mixture of examples."""

    spearman_null: float
    """The same by the rule of another latent."""

    n_tokens: int
    """Tokens of that mixture."""


class IntervalPoint(Config):
    """All latents of a run in one interval of their activations."""

    low: float
    """Its lower end, as a share of a latent's largest activation."""

    high: float
    """Its upper end."""

    n_latents: int
    """Latents with enough examples there to count."""

    median: float | None
    """Median over these of the share that a rule calls active; None without any."""

    mean: float | None
    """Mean of it."""

    null: float | None
    """Median by the rules of other latents."""

    null_mean: float | None
    """Mean of that."""


class IntervalPopulation(Config):
    """The latents of one run together."""

    run: str
    """The run."""

    words: str
    """What it is, as a control of the run that is asked about; empty for that one."""

    n_explained: int
    """Latents that have a rule."""

    n_looked: int
    """Those of them that were looked at and are active often enough in test documents."""

    n_rare: int
    """Those that are not."""

    n_single: int
    """Those looked at that are of a single token."""

    curve: list[IntervalPoint]
    """By interval, the lowest first."""

    counts: list[int]
    """Latents by rank correlation, in equal bins from -1 to 1."""

    null_counts: list[int]
    """The same by the rule of another latent."""


class IntervalAnswers(Config):
    """What was measured of a run beside its controls."""

    n_test: int
    """Test tokens of which examples are drawn: of a long document no more than twice its even share."""

    figures: list[Figure]
    """Of all latents together."""

    populations: list[IntervalPopulation]
    """The run first, then its controls."""

    missing: dict[str, str]
    """Controls that could not be measured, and why."""

    latents: list[SampledLatent]
    """Latents of the run one by one, by number."""
