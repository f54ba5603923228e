"""What is known of one feature, as records. No tensors here: the browser reads these."""

from sparselex.base.config import Config
from sparselex.text.splits import Split


class Example(Config):
    """One place where a latent is active."""

    position: int
    """Position in the corpus (`row * n_ctx + column`)."""

    value: float
    """Activation there."""


class IntervalExamples(Config):
    """Places drawn at random from one range of activation."""

    low: float
    """Lower end of the range, excluded."""

    high: float
    """Upper end of the range, included."""

    n: int
    """Tokens of the training split in the range."""

    examples: list[Example]
    """Places drawn, at most one a row."""


class SplitStatistics(Config):
    """Statistics of a latent over the counted tokens of one split."""

    n_tokens: int
    """Tokens counted."""

    n_active: int
    """Tokens on which the latent is not 0."""

    mean: float
    """Mean activation over all counted tokens."""

    mean_square: float
    """Mean squared activation over all counted tokens."""

    max: float
    """Largest activation by size; 0 if never active."""


class Histogram(Config):
    """Sizes of the activations over all splits."""

    edges: list[float]
    """One more than there are bins; a bin holds its upper edge, not its lower."""

    counts: list[int]
    """Tokens in each bin."""


class TokenTally(Config):
    """How often a latent is active on one token, over all splits."""

    token: int
    """Token id."""

    n: int
    """Counted positions with that token on which the latent is active; of a sampled index, among those drawn."""

    share: float
    """Share of all positions on which it is active, or of those drawn."""

    base: float
    """Share of that token among all counted tokens."""


class TokenEffect(Config):
    """Change of one token's logit per unit of activation, by the direct path."""

    token: int
    """Token id."""

    value: float
    """Logit change per unit, before the final norm's scale."""


class Neighbour(Config):
    """Another latent with a similar direction."""

    latent: int
    """Its number."""

    cosine: float
    """Cosine of the two decoder rows."""


class FeatureRecord(Config):
    """Everything the index knows of one latent."""

    latent: int
    """Number in the dictionary."""

    dead: bool
    """Never active on any counted token."""

    density: float
    """Share of all counted tokens on which it is active."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    histogram: Histogram | None
    """In equal bins from 0 to the largest, or in a sampled index to the end of its bin; absent for a dead latent."""

    log_histogram: Histogram | None
    """In bins half a doubling wide that all latents share, of those the ones between its smallest and its largest; the
    lowest that there is begins at 0. Absent for a dead latent."""

    top: list[Example]
    """Largest activations in the training split, one a row."""

    intervals: list[IntervalExamples]
    """Random examples of the training split from equal ranges of activation, largest first."""

    random: list[Example]
    """Drawn at random from all places of the training split at which it is active, one a row."""

    tokens: list[TokenTally]
    """Tokens on which it is active most often, over all splits, the most frequent first."""

    logits_top: list[TokenEffect]
    """Tokens it promotes most; empty where the hook has no direct path."""

    logits_bottom: list[TokenEffect]
    """Tokens it suppresses most."""

    neighbours: list[Neighbour]
    """Nearest latents by decoder direction."""
