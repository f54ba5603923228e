"""Features of several dimensions as they lie on disk: plain values, read by pages without PyTorch."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "manifolds"
"""Kind of the artifact, and name of its folder."""

MANIFOLDS = "manifolds.json"
"""Its `Manifolds`."""


class Plane(Config):
    """A cloud of tokens in the plane of two principal components."""

    components: tuple[int, int]
    """Which, from 1."""

    mixture: float
    """Mixture index: the largest share of tokens on one line."""

    separability: float
    """Separability index: the least mutual information of both coordinates over rotations, in bits above chance."""

    score: float
    """(1 - mixture) x separability."""

    points: list[tuple[float, float]] = []
    """Where tokens lie, of those groups whose points are kept."""


class LatentGroup(Config):
    """Latents with decoder rows near each other, and the plane in which they look most like one feature."""

    latents: list[int]
    """Which."""

    n_tokens: int
    """Tokens on which one of them is active."""

    n_points: int
    """Tokens that were drawn of these."""

    best: Plane
    """The plane with the highest score."""

    gaussian: float
    """The score of a normal cloud with the covariance of that plane."""

    random: Plane | None
    """The best plane of as many latents drawn at random; None where no draw is active on enough tokens."""

    n_random: int
    """Draws of as many latents that are."""

    random_score: float | None
    """The mean of their scores, each in its best plane."""

    p: float | None
    """Share of these draws, and this group, whose score is as high."""

    @property
    def excess(self) -> float | None:
        """Its score less that of random groups of its size: what groups are ranked by."""
        return None if self.random_score is None else self.best.score - self.random_score


class Manifolds(Config):
    """What was found in a dictionary."""

    n_alive: int
    """Latents that are active."""

    n_groups: int
    """Groups of latents that are near each other."""

    left_out: dict[str, int]
    """Groups that were not looked at, by why."""

    figures: list[Figure]
    """Of all groups together."""

    groups: list[LatentGroup]
    """The best first."""
