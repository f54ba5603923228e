"""What the model reads of a dictionary, as it lies on disk. No tensors here: command line and browser read these."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "model_features"
"""Kind of the artifact, and name of its folder."""

FILE = "model_features.json"
"""Its `ModelFeatures`."""


class LatentRelevance(Config):
    """How much of one latent the model reads."""

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


class ModelFeatures(Config):
    """What the model reads of a dictionary, as far as a first-order estimate tells."""

    n_tokens: int
    """Tokens whose gradients were taken."""

    n_documents: int
    """Documents that they are of."""

    n_read: int
    """Directions that count as read."""

    width: int
    """Dimensions of the site."""

    figures: list[Figure]
    """Of the dictionary."""

    controls: dict[str, list[Figure]]
    """Of other directions at the same site."""

    latents: list[LatentRelevance]
    """Every latent that is active, by number."""
