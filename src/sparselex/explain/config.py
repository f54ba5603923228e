"""How latents are explained, and how explanations are scored. Loads no PyTorch."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from sparselex.base.config import Config
from sparselex.base.registry import Registry
from sparselex.explain.registry import EXPLAINERS, SCORERS


def _known(registry: Registry[Any]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in registry.names():
            registry.get(name)  # says which names there are
        return name

    return AfterValidator(check)


class ExplainConfig(Config):
    """How latents are explained, and how explanations are scored."""

    explainer: Annotated[str, _known(EXPLAINERS)] = "rule"
    """Who explains; rules need no language model."""

    scorers: tuple[Annotated[str, _known(SCORERS)], ...] = Field(default=("exact",), min_length=1)
    """Who scores; the first one's foremost measure stands in lists."""

    min_active: PositiveInt = 10
    """Training tokens on which a latent must be active to be explained at all."""

    seed: NonNegativeInt = 0
    """Seed of the shifts that make the null, and of examples that are drawn."""

    options: dict[str, Any] = {}
    """What the explainer itself can be told, by its own names."""
