"""How latents are held against neurons: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Listed, Seed
from sparselex.base.config import Config

Coefficient = Annotated[float, Field(gt=0, lt=1)]
"""Size of a coefficient of a direction of unit length."""


class NeuronsConfig(Config):
    """How a dictionary's latents are held against the coordinates of what it writes to."""

    large_from: Coefficient = 0.1
    """Size from which a coefficient of a latent's direction, at unit length, is counted as large."""

    aligned_from: Coefficient = 0.9
    """Size of the largest coefficient from which a latent is said to be one neuron."""

    n_kept: Listed = 5
    """Coefficients that are kept of each latent, the largest by size."""

    n_shown: Listed = 20
    """Latents that are listed at either end: those most like one neuron, and those spread over most."""

    seed: Seed = 0
    """Seed of the random directions that are the null."""
