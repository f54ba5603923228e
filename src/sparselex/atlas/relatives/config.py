"""How narrower and wider relatives of latents are found, and texts that tell them apart."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, LastShare, Seed, Tokens
from sparselex.base.config import Config


class RelativesConfig(Config):
    """How narrower and wider relatives of latents are found, and texts that tell them apart."""

    n_tokens: Tokens | None = 200_000
    """Counted tokens of all indexes on which relatives are found, in training documents, and about as many on which
    they have to hold, in test documents: in whole rows, spread evenly over either; `none` (in JSON null) takes all."""

    least_active: Count = 20
    """Tokens of either kind on which a latent must be active to be looked at."""

    least_contained: LastShare = 0.8
    """On how many of a latent's tokens a wider relative must be active, once what it would share by chance is taken
    off: of a share c, where the wide one is active on a share p of all tokens, (c - p) / (1 - p)."""

    least_ratio: Annotated[float, Field(ge=1, le=10**6)] = 1.5
    """On how many times as many tokens the wider of two relatives must be active."""

    least_errors: Annotated[float, Field(ge=0, le=100)] = 4.0
    """By how many standard errors of chance the share must lie above chance: a latent of few tokens lies inside of one
    that is active on most by luck."""

    most_pairs: Count = 4_000
    """Relatives, in each dictionary, for which texts are sought: the closest link of every latent first, then the
    second, and so on."""

    n_before: Annotated[int, Field(ge=1, le=256)] = 7
    """Tokens before the active one by which two texts are held against each other."""

    n_places: Annotated[int, Field(ge=2, le=4096)] = 256
    """Places of either kind, the strongest, among which the two most similar texts are sought."""

    least_told: Count = 5
    """Places of other test documents at which both latents are active, and as many at which only the wider one is, that
    it takes to say whether what two texts differ in tells the latents apart."""

    n_groups: Annotated[int, Field(ge=5, le=200)] = 20
    """Groups of test documents: those with even numbers choose texts, the others judge them; and each is left out in
    turn to say what a figure owes to the documents at hand."""

    seed: Seed = 0
    """Seed of the nulls."""
