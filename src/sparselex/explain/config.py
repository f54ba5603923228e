"""How latents are explained, and how explanations are scored. Loads no PyTorch."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.base.bounds import Once, Seed, Tokens
from sparselex.base.config import Config
from sparselex.base.known import KnownIn
from sparselex.explain.registry import EXPLAINERS, SCORERS


class ExplainConfig(Config):
    """How latents are explained, and how explanations are scored."""

    explainer: Annotated[str, KnownIn(EXPLAINERS)] = "rule"
    """Who explains; rules need no language model."""

    scorers: Annotated[tuple[Annotated[str, KnownIn(SCORERS)], ...], Once] = Field(default=("exact",), min_length=1)
    """Who scores; the first one's foremost measure stands in lists."""

    min_active: Tokens = 10
    """Training tokens on which a latent must be active to be explained at all."""

    seed: Seed = 0
    """Seed of the shifts that make the null, and of examples that are drawn."""

    options: dict[str, Any] = {}
    """What the explainer itself can be told, by its own names."""
