"""How explanations are held against activations of every size: a configuration that can be read without loading
PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config

Share = Annotated[float, Field(ge=0, le=1)]


class IntervalsConfig(Config):
    """How explanations are held against activations of every size."""

    n_latents: Annotated[int, Field(ge=2, le=10**6)] = 1000
    """Explained latents that are looked at, drawn at random; all where there are fewer."""

    n_intervals: Annotated[int, Field(ge=2, le=1000)] = 11
    """Equal intervals from 0 to the largest activation in test documents."""

    n_sampled: Count = 20
    """Examples that are drawn at random from each interval; all of it where there are fewer."""

    least_sampled: Count = 3
    """Examples from which an interval counts when a latent is called consistent: of one or two nothing is known."""

    least_active: Count = 20
    """Test tokens on which a latent must be active to be looked at."""

    consistent_from: Share = 0.5
    """Share of an interval's examples that the explanation must call active for it to be consistent there."""

    top_share: Share = 0.6
    """Upper part of the range of activations by which latents are told that are consistent there and not below: that
    of the paper."""

    seed: Seed = 0
    """Of what is drawn."""
