"""How latents are told apart by when they are active: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config


class CensusConfig(Config):
    """How a dictionary's latents are counted by when they are active."""

    ultralow_below: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Density below which the middle of a second cluster must lie to be called ultralow: half of what it holds is
    active on fewer tokens than that share."""

    apart: Annotated[float, Field(gt=0, le=10)] = 0.5
    """How many powers of ten the middles of both clusters must lie apart in density."""

    n_draws: Annotated[int, Field(ge=19, le=1000)] = 39
    """Clouds of one cluster that are drawn, each as large and spread as all latents together are: two clusters are
    there where the valley between them is deeper than in 95 % of these."""

    n_points: Count = 2000
    """Latents whose coordinates are kept to be drawn."""

    seed: Seed = 0
    """Seed of all that is drawn."""
