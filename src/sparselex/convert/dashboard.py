"""A feature's dashboard as other projects know it: what their files share, in our words. Pure values."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class DashboardExample(NamedTuple):
    """A text with the activations of a latent on it."""

    tokens: list[str]
    """Its tokens as text."""

    values: list[float]
    """The activation at each."""

    place: int
    """Which token it is an example of; -1 where the file names none."""

    low: float = -1
    """Lower end of the range that it was drawn from; -1 among the largest activations."""

    high: float = 0
    """Upper end of the range; among the largest activations the largest of all."""

    share: float = -1
    """Share of all tokens in the range; -1 among the largest activations."""


class DashboardExplanation(NamedTuple):
    """What somebody says of a latent."""

    text: str
    author: str = ""
    """Who says it: a person's id, or how it was made."""

    by: str = ""
    """The method, and the model that wrote it."""

    notes: str = ""
    scores: Mapping[str, float] = {}
    """Scores by the names that they have in the file."""


class Bars(NamedTuple):
    """A histogram."""

    centres: list[float]
    counts: list[int]


class Aligned(NamedTuple):
    """Where a decoder direction points: its largest coordinates."""

    places: list[int]
    values: list[float]
    shares: list[float]
    """Of the sum of the sizes of all its coordinates."""


NO_BARS, NOT_ALIGNED = Bars([], []), Aligned([], [], [])


class Dashboard(NamedTuple):
    """Everything that other projects' files say of one latent."""

    latent: int
    density: float | None
    """Share of all tokens on which it is active; None where a file does not say it."""

    largest: float
    """Its largest activation over all tokens that were read."""

    examples: list[DashboardExample]
    """The largest activations first, then ranges of activation, the largest first."""

    activations: Bars = NO_BARS
    """Sizes of the activations that are not 0."""

    logits: Bars = NO_BARS
    """Logit effects on all tokens of the vocabulary."""

    raised: tuple[list[str], list[float]] = ([], [])
    """Tokens promoted most, and by how much."""

    lowered: tuple[list[str], list[float]] = ([], [])
    """Tokens suppressed most."""

    aligned: Aligned = NOT_ALIGNED
    """The largest coordinates of its direction."""

    explanations: list[DashboardExplanation] = []
    others: Mapping[str, Any] = {}
    """What else a file said of it, by its names there."""


class DashboardSet(NamedTuple):
    """What the dashboards of one dictionary have in common."""

    model: str
    """Id of the model among other projects."""

    layer: int
    """Number of the layer."""

    name: str
    """Name of the set that the dictionary is of, such as `res-jb`."""

    n_prompts: int
    """Texts that were read."""

    n_prompt_tokens: int
    """Tokens in each, BOS included."""

    dataset: str
    """What the texts were."""

    hook: str = ""
    """Where the model was read, by our name."""

    d_model: int = 0
    d_sae: int = 0

    made_at: str = ""
    """When, in ISO 8601."""

    others: Mapping[str, Any] = {}
    """What else the files said, by its names there."""

    @property
    def source(self) -> str:
        """The dictionary's name: the layer, and the set."""
        return f"{self.layer}-{self.name}"
