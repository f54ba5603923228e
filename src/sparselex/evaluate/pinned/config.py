"""How pinned sampling is measured: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config

Samples = Annotated[int, Field(ge=1, le=1000)]
"""Texts of each kind for each latent."""

NewTokens = Annotated[int, Field(ge=1, le=4096)]
"""Tokens that are written at most."""


class PinnedConfig(Config):
    """How pinned sampling is measured."""

    n_latents: Annotated[int, Field(ge=2, le=10**5)] = 20
    """Latents that are held, half of them those with the best rules, half drawn at random."""

    n_samples: Samples = 3
    """Texts of each kind for each."""

    n_new: NewTokens = 40
    """Tokens that are written."""

    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0
    """At which they are drawn; 0 writes the likeliest, the same in every sample."""

    times_largest: Annotated[float, Field(gt=0, le=10**6, allow_inf_nan=False)] = 1.0
    """The value at which a latent is held, in multiples of its largest activation in the training split."""

    least_active: Count = 50
    """Training tokens on which a latent must be active to be drawn, and another one to be held beside it."""

    seed: Seed = 0
    """Of what is drawn."""
