"""What was found of concepts, as it lies on disk: plain values, read by pages without PyTorch."""

from typing import Any

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "proxies"
"""Kind of the artifact of the shipped concepts, and name of its folder."""

FILE = "proxies.json"
"""Its `ProxiesFound`."""

FOUND = "found"
"""Kind of the artifact of a concept that a person has looked for, and the folder of a run in which these lie."""

FOUND_FILE = "found.json"
"""Its `ConceptFound`."""

HIGH = 0.5
"""Share of a feature's largest training activation above which it is highly active."""


class Carrier(Config):
    """How well one feature, or neuron, tells the tokens of a concept; chosen on training tokens, judged on test
    tokens. None stands for what cannot be formed."""

    latent: int
    """Which; of a neuron its number."""

    sign: int = 1
    """-1 for a neuron that is taken with its sign turned."""

    train_sensitivity: float
    """The correlation by which it was chosen, on training tokens."""

    density: float | None
    """Share of test tokens on which it is active."""

    specificity: float | None
    """Share of its active tokens that are inside."""

    specificity_weighted: float | None
    """Share of its activation that lies inside."""

    specificity_high: float | None
    """Share inside of the tokens on which it is highly active, above half of its largest training activation."""

    n_high: int
    """How many these are."""

    sensitivity: float | None
    """Correlation of its activation with the score of the concept where that is above 0."""

    recall: float | None
    """Share of the tokens inside on which it is active."""


class Interval(Config):
    """The test tokens on which the best feature has an activation in one interval, by what the concept says of them."""

    low: float
    """Activations above this ..."""

    high: float
    """... up to this; of the last interval any above."""

    counts: list[int]
    """Tokens, by class."""

    masses: list[float]
    """Their activations added up, by class."""


class Sibling(Config):
    """A feature that fills gaps of those before it."""

    latent: int
    """Which."""

    train_added: float
    """Share of the training tokens inside that it adds: those on which all before are silent. It was chosen by this."""

    added: float | None
    """The same of test tokens."""

    recall: float | None
    """Share of the test tokens inside on which it or one before is active."""

    specificity: float | None
    """Share of its active test tokens that are inside."""

    random_added: float | None
    """What random latents of about its density add in its place, on average."""


class Place(Config):
    """A test token."""

    position: int
    """Where in the corpus."""

    value: float
    """Activation of the best feature there."""

    score: float
    """What the concept says of it."""


class ConceptFound(Config):
    """A concept, and the features that carry it."""

    name: str
    """What it is called."""

    words: str
    """Which tokens are inside, in one sentence."""

    rule: dict[str, Any]
    """The rule itself, as JSON values."""

    n_train: int
    """Training tokens inside."""

    n_test: int
    """Test tokens inside."""

    n_documents: int
    """Test documents that have one."""

    share: float
    """Share of test tokens that are inside: the specificity of any feature that knows nothing of it."""

    figures: list[Figure]
    """Of the best feature, with what it is by chance, for the best neuron and in twins."""

    carriers: list[Carrier]
    """The features that correlate with it most, the best first."""

    classes: list[str]
    """What the concept says of tokens, in words: outside first."""

    intervals: list[Interval]
    """Test activations of the best feature."""

    siblings: list[Sibling]
    """Features that fill its gaps, in the order in which they were taken."""

    neuron: Carrier | None
    """The neuron that correlates most; None where none was read."""

    neuron_words: str
    """What stands for neurons, over how many tokens; or why there are none."""

    twins: dict[str, Carrier]
    """The best feature of each run with random weights that is indexed, by run."""

    by_chance: list[Carrier]
    """The best feature for the concept moved along the text, each time."""

    strongest: list[Place]
    """Test tokens on which the best feature is most active, one a row."""

    outside: list[Place]
    """Those of the strongest that are outside."""

    missed: list[Place]
    """Some that are inside and on which it is silent, drawn at random."""

    def figure(self, name: str) -> Figure:
        """The figure whose last word is `name`."""
        return next(one for one in self.figures if one.name.rpartition("/")[2] == name)


class SampledFeature(Config):
    """A feature that was drawn at random, and the concept that it correlates with most."""

    concept: str
    """Which, chosen on training tokens."""

    carrier: Carrier
    """How well it tells its tokens."""

    strongest: list[Place]
    """Test tokens on which it is most active, one a row."""


class ProxiesFound(Config):
    """What was found of all concepts."""

    run: str
    """The run whose features they are."""

    n_latents: int
    """Features that were asked: those that are active on training tokens enough."""

    n_train: int
    """Training tokens that features were chosen on."""

    n_test: int
    """Test tokens that they were judged on."""

    figures: list[Figure]
    """Of all concepts together."""

    concepts: list[ConceptFound]
    """Each, the best first: by specificity at high activation times sensitivity, above that of the best of what it is
    held against, so that what a feature of random weights carries as well comes late."""

    left_out: dict[str, str]
    """Concepts that were not looked for, and why."""

    sampled: list[SampledFeature]
    """Features drawn at random."""
