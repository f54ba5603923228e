"""Pinned sampling as it lies on disk: plain values, read by pages without PyTorch."""

from typing import Literal

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "pinned"
"""Kind of the artifact, and name of its folder."""

FILE = "pinned.json"
"""Its `PinnedLatents`."""

Group = Literal["best rules", "drawn at random"]
"""Why a latent was looked at."""


class Texts(Config):
    """What was written in one way for one latent."""

    text: str
    """The text of the first sample."""

    active_share: float
    """Mean share of tokens on which the latent is active by itself, when the plain model reads what was written."""

    raised_share: float
    """Mean share of tokens that are among those that the latent raises most."""

    loss: float
    """Mean cross-entropy under the plain model, nats a token."""

    repeated: float
    """Mean share of pieces of four tokens that stand in the same text before."""


class PinnedLatent(Config):
    """A latent that was held."""

    latent: int
    """Its number."""

    group: Group
    """Why it was looked at."""

    value: float
    """The activation at which it was held."""

    kl: float
    """Mean KL divergence of the predictions at the prompt's tokens from those without, nats."""

    other: int
    """The latent that was held beside it."""

    other_value: float
    """The activation at which that was held."""

    other_kl: float
    """Its divergence: as near as it comes."""

    plain: Texts
    """With nothing held."""

    pinned: Texts
    """While the latent was held."""

    beside: Texts
    """While the other one was."""


class PinnedLatents(Config):
    """What was measured of a dictionary."""

    prompt: str
    """What was gone on from."""

    n_samples: int
    """Texts of each kind for each latent."""

    left_out: dict[str, int]
    """Latents that were chosen and not measured, by why."""

    figures: list[Figure]
    """Of all together."""

    latents: list[PinnedLatent]
    """Each by itself."""
