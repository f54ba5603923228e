"""How the sweep over a strong attribute is done: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Once
from sparselex.dictionaries.kinds import Kind
from sparselex.evaluate.supervised.config import L1, Budget, Share, TaskConfig


class OcclusionConfig(TaskConfig):
    """How a strong attribute is taken out by degrees, and what is trained on the rest."""

    kinds: Annotated[tuple[Kind, ...], Once] = ("relu", "topk")
    """Types that are trained on what is left."""

    l0s: Annotated[tuple[Budget, ...], Once, Field(min_length=1, max_length=20)] = (3,)
    """Active latents of types that are asked for a number."""

    l1s: Annotated[tuple[L1, ...], Once, Field(min_length=1, max_length=20)] = (1.0, 2.5)
    """Sparsity coefficients of types that are asked for one."""

    alphas: Annotated[tuple[Share, ...], Once, Field(min_length=2, max_length=20)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """How much of the strong attribute's vector is subtracted, ascending."""

    found_for: Share = 0.5
    """F1 above which a value counts as found."""

    least_there: Share = 0.05
    """Share of the variance that an attribute's vectors must account for to be taken as there."""


def occlusion_config(config: TaskConfig) -> OcclusionConfig:
    """The sweep at the places of a task: prompts, widths, lengths of training and seeds as there, types and sparsities
    its own."""
    own = ("kinds", "l0s", "l1s")
    kept = {name: value for name, value in config.to_json().items() if name not in own}
    return OcclusionConfig.parse(kept, "the configuration of the task")
