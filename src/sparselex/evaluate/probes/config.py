"""How a dictionary is probed."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sparselex.base.bounds import BatchRows, Count, Seed
from sparselex.base.config import Config

Latents = Annotated[int, Field(gt=0, le=10**4)]
"""Latents that are chosen for a concept."""


AblateTo = Literal["mean", "zero"]
"""What takes the place of a latent that is ablated."""


class ProbesConfig(Config):
    """How a dictionary is probed."""

    n_texts: Annotated[int, Field(ge=50, le=10**6)] = 600
    """Texts of each kind that are made here."""

    n_rows: Count = 48
    """Rows of the run's own text, of each of two splits, for concepts of source code."""

    n_places: Annotated[int, Field(ge=100, le=10**6)] = 1500
    """Tokens of these rows that are looked at, of each split."""

    ks: Annotated[tuple[Latents, ...], Field(min_length=1, max_length=10)] = (1, 2, 5, 20)
    """Latents that a sparse probe reads."""

    ns: Annotated[tuple[Latents, ...], Field(min_length=1, max_length=10)] = (2, 5, 10, 20, 50)
    """Latents that are taken out for SCR and TPP, and exchanged for RAVEL."""

    ablate_to: AblateTo = "mean"
    """What takes the place of latents that are taken out: their `mean` over texts, or `zero`, as was published: where
    they are active on all texts, that moves every probe to one side."""

    n_seeds: Annotated[int, Field(gt=0, le=20)] = 3
    """Ways to divide words into those to fit and those to test, each with draws of its own for what is random."""

    batch_rows: BatchRows = 64
    """Texts in a forward pass."""

    seed: Seed = 0
    """Seed of all that is drawn."""

    @field_validator("ks", "ns")
    @classmethod
    def _ascending(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(given)))
