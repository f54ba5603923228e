"""How features of several dimensions are looked for: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field, model_validator

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config

GroupSize = Annotated[int, Field(ge=2, le=1000)]
"""Latents of a group: one has no second dimension."""

Points = Annotated[int, Field(ge=50, le=10**5)]
"""Tokens of a cloud: of fewer no histogram can be made."""


class ManifoldsConfig(Config):
    """How features of several dimensions are looked for."""

    n_nearest: Annotated[int, Field(gt=0, le=100)] = 2
    """Nearest decoder rows that each latent is linked to ..."""

    least_cosine: Annotated[float, Field(ge=0, le=1)] = 0.5
    """... where their cosine is above this."""

    least_size: GroupSize = 3
    """Latents that a group must have."""

    most_size: GroupSize = 60
    """Latents that it may have: links are taken from the strongest on, and one that would make more is left out."""

    most_groups: Count = 60
    """Groups that are looked at, those that are active on most tokens."""

    least_points: Points = 200
    """Tokens on which some latent of a group must be active."""

    most_points: Points = 1000
    """Tokens that are drawn of these."""

    n_components: Annotated[int, Field(ge=2, le=20)] = 5
    """Principal components of a cloud, looked at two by two: the first with the second, the second with the third."""

    n_random: Annotated[int, Field(gt=0, le=1000)] = 9
    """Random groups of the same size that each is held against."""

    n_kept: Count = 12
    """Groups whose points are kept to be shown."""

    seed: Seed = 0
    """Seed of all that is drawn."""

    @model_validator(mode="after")
    def _some_size_is_left(self) -> "ManifoldsConfig":
        if self.least_size > self.most_size:
            raise ValueError(
                f"no group has at least {self.least_size} latents and at most {self.most_size}; "
                "lower least_size or raise most_size"
            )
        return self
