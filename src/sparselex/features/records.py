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
    """Sizes of the activations over all splits, in equal bins from 0 to the largest."""

    edges: list[float]
    """`n_bins + 1` edges; a bin holds its upper edge, not its lower."""

    counts: list[int]
    """Tokens in each bin."""


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


class TokenTally(Config):
    """A token on which a latent is active."""

    token: int
    """Token id."""

    n: int
    """Counted positions of it on which the latent is active."""

    share: float
    """These among all positions at which the latent is active."""

    base: float
    """Share of the token among all counted tokens."""


class CoactiveNeighbour(Config):
    """Another latent that is active on the same tokens."""

    latent: int
    """Its number."""

    n_both: int
    """Tokens on which both are active."""

    share: float
    """These among this latent's active tokens."""

    lift: float
    """How many times more than by chance: P(both) / (P(a) P(b))."""


class NeuronCorrelation(Config):
    """A coordinate of what the dictionary reads that goes with a latent."""

    neuron: int
    """Its number."""

    correlation: float
    """Pearson correlation over counted tokens."""


class FollowingToken(Config):
    """A token that follows an active one in the training text."""

    token: int
    """Token id."""

    n: int
    """Times that it follows."""

    share: float
    """These among all that follow an active token."""

    base: float
    """Share of the token among all counted tokens."""

    lift: float
    """`share / base`."""


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
    """Absent for a dead latent."""

    top: list[Example]
    """Largest activations in the training split, one a row."""

    intervals: list[IntervalExamples]
    """Random examples of the training split from equal ranges of activation, largest first."""

    logits_top: list[TokenEffect]
    """Tokens it promotes most; empty where the hook has no direct path."""

    logits_bottom: list[TokenEffect]
    """Tokens it suppresses most."""

    neighbours: list[Neighbour]
    """Nearest latents by decoder direction."""

    coactive: list[CoactiveNeighbour] = []
    """Latents that are active on the same tokens more than by chance."""

    encoder_neighbours: list[Neighbour] = []
    """Nearest latents by encoder direction."""

    neurons: list[NeuronCorrelation] = []
    """Coordinates of what the dictionary reads that correlate most."""

    tokens: list[TokenTally] = []
    """Tokens on which it is active, most often first."""

    following: list[FollowingToken] = []
    """Tokens that follow active ones more than by chance."""
