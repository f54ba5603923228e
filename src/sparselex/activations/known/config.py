"""What is known of a synthetic set of features: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field, model_validator

from sparselex.base.bounds import Seed
from sparselex.base.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""

Level = Annotated[float, Field(ge=0, le=1000)]
"""A length or a standard deviation, in units of a feature's mean coefficient."""


class KnownConfig(Config):
    """A set of known features, as SynthSAEBench (arXiv:2602.14687) plans one: Zipf firing, hierarchies, correlated
    groups, superposition.

    Features are numbered: roots and single ones by falling firing probability, then the children of hierarchies.
    """

    d_in: int = Field(default=128, ge=2, le=2**16)
    """Width of the activations."""

    n_features: int = Field(default=4096, ge=1, le=2**20)
    """Features in all, each a random direction of unit norm."""

    l0: float = Field(default=8.0, gt=0, le=10**4)
    """Expected number of features active in a token, exactly."""

    zipf: float = Field(default=0.8, ge=0, le=4)
    """Exponent: the r-th most frequent of the features without a parent fires in proportion to `1 / r ** zipf`."""

    most_often: float = Field(default=0.4, gt=0, le=0.9)
    """Largest firing probability: what Zipf's law has above it is cut, and the rest raised until `l0` holds."""

    n_trees: int = Field(default=64, ge=0, le=10**5)
    """Features that are the root of a hierarchy, spread evenly over the more frequent half."""

    n_children: int = Field(default=4, ge=0, le=100)
    """Children of every node above the leaves, of which at most one is active."""

    depth: int = Field(default=2, ge=0, le=8)
    """Levels below a root."""

    child_given_parent: Share = 0.2
    """P(child | parent): how often an active node has this one of its children active. A child never fires alone."""

    n_groups: int = Field(default=32, ge=0, le=10**5)
    """Groups of features that fire together."""

    group_size: int = Field(default=8, ge=2, le=1000)
    """Features in a group, of neighbouring ranks."""

    group_share: float = Field(default=0.5, ge=0, lt=1)
    """Share of a member's firings that are due to an event of its group."""

    together: float = Field(default=0.5, gt=0, le=1)
    """Probability that the group's most frequent member fires when the group has its event."""

    spread: Share = 0.5
    """Coefficients are uniform in `1 - spread` to `1 + spread`, times the feature's own size."""

    size_spread: float = Field(default=0.0, ge=0, le=2)
    """Standard deviation of the logarithm of features' sizes, whose median is 1."""

    noise: Level = 0.02
    """Standard deviation of Gaussian noise on every coordinate."""

    bias: Level = 1.0
    """Length of a constant vector under all activations."""

    seed: Seed = 0
    """Seed of directions, sizes and samples."""

    @property
    def nodes_below(self) -> int:
        """Descendants of each root."""
        return sum(self.n_children**level for level in range(1, self.depth + 1)) if self.n_children else 0

    @property
    def n_free(self) -> int:
        """Features without a parent."""
        return self.n_features - self.n_trees * self.nodes_below

    @model_validator(mode="after")
    def _fits(self) -> "KnownConfig":
        needed = max(self.n_trees, 1) if self.n_trees or not self.n_groups else 0
        if self.n_free < needed + self.n_groups * self.group_size:
            raise ValueError(
                f"{self.n_trees} trees with {self.nodes_below} nodes below each root and {self.n_groups} groups of "
                f"{self.group_size} need more than n_features={self.n_features}; lower n_trees, depth or n_groups"
            )
        if self.n_children * self.child_given_parent > 1 + 1e-9:
            raise ValueError(
                f"n_children={self.n_children} of which at most one is active cannot each have "
                f"child_given_parent={self.child_given_parent}; lower one of them"
            )
        if self.l0 > 0.5 * self.most_often * self.n_free:
            raise ValueError(
                f"l0={self.l0:g} cannot be reached by {self.n_free} features that fire in at most "
                f"{self.most_often:g} of tokens; lower l0"
            )
        return self
