"""On how much universality is measured."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed, Tokens
from sparselex.base.config import Config


class UniversalityConfig(Config):
    """On how much universality is measured."""

    n_tokens: Tokens | None = 200_000
    """Counted tokens of both indexes on which matches are chosen, in training documents, and about as many on which
    they are judged, in test documents (of a long one no more than twice its even share): in whole rows, spread evenly
    over either; `none` (in JSON null) takes all."""

    least_active: Count = 20
    """Tokens of either kind on which a latent must be active: of a rarer one chance alone finds a perfect match."""

    n_groups: Annotated[int, Field(ge=5, le=200)] = 50
    """Groups of test documents that are left out in turn: what every figure owes to the documents at hand."""

    seed: Seed = 0
    """Seed of the nulls."""
