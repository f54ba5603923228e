"""How explanations are held against logit weights: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Seed, Whole
from sparselex.base.config import Config
from sparselex.explain.raised import FIRST, LEAST_COUNT, N_EACH


class LogitsConfig(Config):
    """How explanations are held against logit weights."""

    n_latents: Annotated[int, Field(ge=2, le=10**6)] = 1000
    """Explained latents that are looked at, drawn at random; all where there are fewer."""

    n_each: Annotated[int, Field(ge=2, le=10**4)] = N_EACH
    """Tokens of each kind for each latent: those that it raises, and those drawn at random."""

    first: Whole = FIRST
    """How many of the tokens that a latent raises most are left out: the paper asks of ranks 10 to 60, since the very
    first are the easiest."""

    least_count: Annotated[int, Field(ge=1, le=10**9)] = LEAST_COUNT
    """Times that a token must stand in the text to be asked about: of rarer ones the text tells nothing."""

    prior: Annotated[float, Field(gt=0, le=10**6, allow_inf_nan=False)] = 1.0
    """Occurrences that are added to what is counted and to what is expected, so that a token that is rare is not
    called raised or lowered by chance."""

    n_kinds: Annotated[int, Field(ge=0, le=10**4)] = 128
    """Directions by which tokens are taken to be of a kind, from which tokens they follow in training text: what is
    counted of one then tells something of others, as a reader would take it. 0 leaves each token by itself."""

    n_even: Annotated[int, Field(ge=1, le=10**9)] = 1000
    """Places of each rule that are looked at where all latents are to be told of by as many: what is active on many
    tokens, as neurons are, is known better from the same text."""

    seed: Seed = 0
    """Of what is drawn."""
