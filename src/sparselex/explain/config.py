"""How latents are explained."""

from typing import Literal

from pydantic import PositiveInt

from sparselex.base.config import Config


class ExplainConfig(Config):
    """How latents are explained."""

    explainer: Literal["rule"] = "rule"
    """Rules need no language model."""

    min_active: PositiveInt = 10
    """Training tokens on which a latent must be active to be explained at all."""

    seed: int = 0
    """Seed of the shifts that make the null."""
