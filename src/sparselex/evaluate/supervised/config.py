"""How dictionaries are put to a task: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sparselex.base.bos import Bos
from sparselex.base.bounds import Count, Expansion, Once, Seed, Tokens
from sparselex.base.config import Config
from sparselex.dictionaries.kinds import Kind

Budget = Annotated[int, Field(gt=0, le=1000)]
"""Latents that are exchanged at most."""

Prompts = Annotated[int, Field(ge=16, le=10**6)]
"""Prompts: of fewer nothing can be told."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""

L1 = Annotated[float, Field(gt=0, le=1e4)]
"""A sparsity coefficient."""


class CircuitConfig(Config):
    """Which prompts are drawn, and how heads are looked for."""

    places: Annotated[tuple[str, ...], Once] = ()
    """Where, each `HOOK@ROLE`, such as blocks.1.hook_resid_post@end; several joined by + are edited together; or a
    cross-section of GPT-2 Small by its name, such as name-movers-out, `published` being all of them. Left out, what is
    found by patching."""

    n_fit: Prompts = 4000
    """Prompts that dictionaries are made of."""

    n_test: Prompts = 256
    """Prompts on which they are tested, each with its counterfactuals."""

    n_circuit: Prompts = 64
    """Prompts on which heads are looked for."""

    threshold: Share = 0.05
    """Share of the effect of corruption that a head must undo by itself to be taken up."""

    most_nodes: Annotated[int, Field(gt=0, le=1000)] = 4
    """Heads that are edited together at a place, those with the largest effects."""

    bos: Bos = "auto"
    """Whether prompts begin with the tokenizer's BOS: auto where it begins texts with it itself, always, or never."""

    shortlist: Count = 60
    """Places that attribution ranks highest, which are then patched one by one."""

    seed: Seed = 0
    """Seed of the prompts, and of all else that is drawn."""


class TaskConfig(CircuitConfig):
    """How dictionaries are put to a labelled task."""

    supervised: Literal["mean", "mse"] = "mse"
    """How the supervised dictionary is made. mean: means of each value. mse: least squares, right where attributes hang
    together."""

    kinds: Annotated[tuple[Kind, ...], Once] = ("topk", "batchtopk", "relu")
    """Types that are trained on what is at each place."""

    general: Annotated[tuple[Kind, ...], Once] = ("topk",)
    """Types that are trained a second time, on what is at the same sites at every token of text of all kinds."""

    n_general: Prompts = 30_000
    """Tokens of that text that are read."""

    l0s: Annotated[tuple[Budget, ...], Once, Field(min_length=1, max_length=20)] = (2, 4, 8, 16)
    """Active latents of types that are asked for a number."""

    l1s: Annotated[tuple[L1, ...], Once, Field(min_length=1, max_length=20)] = (0.3, 1.0, 2.5, 5.0)
    """Sparsity coefficients of types that are asked for one."""

    expansion: Expansion = 8
    """Latents for each dimension ..."""

    most_latents: Count = 512
    """... and at most so many."""

    n_tokens: Tokens = 100_000
    """Tokens that each is trained on: the prompts again and again."""

    n_seeds: Annotated[int, Field(gt=0, le=20)] = 3
    """Seeds of what is trained and drawn."""

    budgets: Annotated[tuple[Budget, ...], Once, Field(min_length=1, max_length=20)] = (1, 2, 4, 8, 16)
    """Latents that are exchanged at each place."""

    known_for: Share = 0.8
    """F1 from which a latent counts as standing for a value."""

    @field_validator("budgets", "l0s")
    @classmethod
    def _ascending(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(given)))
