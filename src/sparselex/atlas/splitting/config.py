"""How links between dictionaries of several widths are found."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, LastShare, Seed, Tokens
from sparselex.base.config import Config


class SplittingConfig(Config):
    """How links between dictionaries of several widths are found."""

    n_tokens: Tokens | None = 200_000
    """Counted tokens of all indexes on which links are found, in training documents, and about as many on which they
    have to hold, in test documents: in whole rows, spread evenly over either; `none` (in JSON null) takes all."""

    least_active: Count = 20
    """Tokens of either kind on which a latent must be active to be linked."""

    least_link: LastShare = 0.4
    """How alike two latents must be to be linked, as in the 2023 paper: the larger of two cosines of their activations,
    on the tokens on which the one is active and on those on which the other is."""

    close_link: LastShare = 0.8
    """How alike they must be to count as close: latents of one dictionary that only fire together hardly ever are."""

    n_groups: Annotated[int, Field(ge=5, le=200)] = 20
    """Groups of test documents that are left out in turn: what every figure owes to the documents at hand."""

    seed: Seed = 0
    """Seed of the nulls."""
