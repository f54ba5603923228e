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
