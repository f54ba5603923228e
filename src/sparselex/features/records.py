"""What is known of one feature, as records. No tensors here: the browser reads these."""

from math import log

from sparselex.base.config import Config
from sparselex.base.html import bars, card, table, words
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
    """Change of one token's logit per unit of activation, by the direct path, relative to the median token."""

    token: int
    """Token id."""

    value: float
    """Logit change per unit, less that of the median token, before the final norm's scale."""


class Neighbour(Config):
    """Another latent with a similar direction."""

    latent: int
    """Its number."""

    cosine: float
    """Cosine of the two rows, of the decoder or of the encoder."""


class CoactiveNeighbour(Config):
    """Another latent that is active on the same tokens, counted on a sample of training tokens (the index notes their
    number as `n_sampled`)."""

    latent: int
    """Its number."""

    n_both: int
    """Sampled tokens on which both are active; 5 at least."""

    share: float
    """Share of this latent's sampled active tokens on which the other is active too."""

    lift: float
    """How much more often both are active than by chance: P(both) / (P(this) P(other))."""


class NeuronCorrelation(Config):
    """A neuron, or any other coordinate of what the dictionary reads, that goes with a latent."""

    neuron: int
    """Number of the coordinate; of several sites they lie side by side."""

    correlation: float
    """Pearson correlation of its value with the latent's activation, over sampled training tokens (the index notes
    their number as `n_read`)."""


class FollowingToken(Config):
    """A token that follows in the training text, in the same document, where a latent is active."""

    token: int
    """Token id."""

    n: int
    """How often it follows, among 256 active places spread evenly over the text, or all where there are fewer; 5 at
    least."""

    share: float
    """Share of these places that it follows."""

    base: float
    """Its share of all counted tokens of the training text."""

    lift: float
    """`share / base`; above 1 also at the lower end of its 95 % interval."""


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

    encoder_neighbours: list[Neighbour]
    """Nearest latents by what the encoder reads; empty for a dictionary without an encoder."""

    coactive: list[CoactiveNeighbour]
    """Latents that are most together with it, by the correlation of being active (phi): 0 at chance, so that neither
    dense latents nor rare ones fill the list."""

    neurons: list[NeuronCorrelation]
    """Coordinates of what the dictionary reads that correlate most with it, by size."""

    neuron_chance: float | None
    """The largest correlation, by size, of any coordinate with the same activations shifted to other tokens, which is
    what `neurons` begins with by chance. None where it was not measured."""

    following: list[FollowingToken]
    """What follows where it is active, most telling first: by the lower end of the share times the logarithm of its
    lift, so that neither rare tokens nor frequent ones fill the list."""

    def _repr_html_(self) -> str:
        """In a notebook: statistics and histogram. Examples are positions in a corpus; `sparselex.feature` has the
        text."""
        if self.histogram is None:
            return card(f"Latent {self.latent}", words("Never active on any counted token."))
        counts = self.histogram.counts
        highest = log(1 + max(counts)) or 1.0
        rows = [
            [split, f"{one.n_active:,}", f"{one.n_tokens:,}", f"{one.mean:.3g}", f"{one.max:.3g}"]
            for split, one in self.statistics.items()
        ]
        return card(
            f"Latent {self.latent}",
            words(f"Active on {self.density:.3g} of the counted tokens."),
            bars(counts, "Tokens by size of activation", [log(1 + n) / highest for n in counts]),
            words(f"Tokens by size of activation, 0 to {self.histogram.edges[-1]:.3g}, on a log scale.", quiet=True),
            table(["split", "active", "tokens", "mean", "largest"], rows),
        )
