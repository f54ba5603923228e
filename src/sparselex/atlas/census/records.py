"""A census of latents as it lies on disk: plain values, read by pages without PyTorch."""

from typing import Literal, NamedTuple

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "census"
"""Kind of the artifact, and name of its folder."""

FILE = "census.json"
"""Its `Census`."""

Group = Literal["dead", "ultralow", "rest"]
"""What a latent is called: never active on any counted token; of the cluster of very low density; neither."""


class Point(NamedTuple):
    """One latent in the picture."""

    latent: int
    log_density: float
    """log10 of the share of counted tokens on which it is active."""

    values: list[float]
    """Its other coordinates, in the order of `Census.coordinates`."""

    ultralow: bool


class Valley(Config):
    """Whether living latents make two clusters."""

    depth: float
    """How much lower the valley between two peaks is than the lower of these, as a share of it: 0 where there is one
    peak."""

    drawn: float
    """What 95 % of clouds of one cluster stay below, as large and spread as this one."""

    low: float
    """Median log10 density of the cluster that is less often active."""

    high: float
    """The same of the other."""

    n_low: int
    """Latents of the former."""


class Census(Config):
    """Latents of a dictionary by when they are active."""

    n_tokens: int
    """Tokens counted, over all splits."""

    coordinates: list[str]
    """By what latents were told apart besides their density; none where the dictionary has no encoder of that kind."""

    groups: dict[Group, int]
    """Latents of each group."""

    valley: Valley | None
    """The two clusters that there would be; None where too few latents live to look."""

    found: str
    """Whether there is a cluster of very low density, and why not, in a sentence."""

    ultralow: list[int]
    """Its latents, ascending."""

    edges: list[float]
    """log10 of the density at the edges of the histogram's bins."""

    counts: dict[Literal["ultralow", "rest"], list[int]]
    """Living latents of either group in each bin."""

    points: list[Point]
    """Living latents, a sample drawn without looking."""

    figures: list[Figure]
    """What the report takes up."""
