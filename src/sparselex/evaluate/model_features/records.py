"""What is known of a dictionary as one of the model, as it lies on disk. No tensors here: command line and browser read
these."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "model_features"
"""Kind of the artifact, and name of its folder."""

FILE = "model_features.json"
"""Its `ModelFeatures`."""

NULL = "covariance"
"""Name of directions drawn as the activations vary, which latents are held against."""

SHUFFLED = "shuffled"
"""Name of a control: the latents with each other's directions."""


class LatentOfModel(Config):
    """How far one latent is one of the model."""

    latent: int
    """Its number."""

    relevance: float
    """Its relevance: 1 where it is read as much as what activations differ by."""

    ci_low: float | None
    """Lower end of the 95 % interval, over documents."""

    ci_high: float | None
    """Upper end."""

    read_share: float
    """Share of its squared length that lies in the directions which are read."""

    variance: float
    """Variance of what it writes, over training tokens."""

    unread: bool
    """Whether it is less relevant than nearly all directions drawn as the activations vary."""

    measured: dict[str, float] = {}
    """What else was measured of it, by the name of the figure; of latents that were drawn for that."""


class Curve(Config):
    """Something measured over a range of steps."""

    name: str
    """What was moved, and along what."""

    x: list[float]
    """Lengths of steps, in median distances of an activation from the mean."""

    y: list[float]
    """Mean divergence of what is predicted, nats."""


class Compared(Config):
    """Another dictionary of the same site beside this one."""

    run: str
    """Its run."""

    words: str
    """What it has otherwise."""

    figures: list[Figure]
    """How far its latents are the same, each with its value by chance."""


class Part(Config):
    """What one measurement found."""

    figures: list[Figure] = []
    """Of the dictionary."""

    controls: dict[str, list[Figure]] = {}
    """Of other directions at the same site."""

    measured: dict[str, dict[int, float]] = {}
    """Of single latents, by the name of the figure and their numbers."""

    curves: list[Curve] = []
    """Figures over a range."""

    compared: list[Compared] = []
    """Other dictionaries of the site."""


class Relevance(Part):
    """What the output metric says of a dictionary."""

    n_tokens: int
    """Tokens whose gradients were taken."""

    n_documents: int
    """Documents that they are of."""

    n_read: int
    """Directions that count as read."""

    width: int
    """Dimensions of the site."""

    unread_below: float | None = None
    """Relevance below which a latent is unread."""

    latents: list[LatentOfModel]
    """Every latent that is active, by number."""


class ModelFeatures(Config):
    """The model-feature card of a dictionary."""

    n_tokens: int
    """Tokens whose gradients were taken."""

    n_documents: int
    """Documents that were looked at."""

    n_effective: float | None = None
    """How many of one size would tell as much; None on cards of earlier versions."""

    n_read: int
    """Directions that count as read."""

    width: int
    """Dimensions of the site."""

    unread_below: float | None = None
    """Relevance below which a latent is unread; None on cards of earlier versions."""

    figures: list[Figure]
    """Of the dictionary."""

    controls: dict[str, list[Figure]]
    """Of other directions at the same site."""

    latents: list[LatentOfModel]
    """Every latent that is active, by number."""

    curves: list[Curve] = []
    """What the model makes of steps of growing length."""

    compared: list[Compared] = []
    """Other dictionaries of the site."""
