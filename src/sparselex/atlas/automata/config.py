"""How finite-state automata are looked for: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed, Tokens
from sparselex.base.config import Config

Shuffles = Annotated[int, Field(ge=1, le=999)]
"""Shuffles that a threshold is the largest of: with 19 of them it is exceeded by chance in one case of twenty."""

States = Annotated[int, Field(ge=2, le=16)]
"""States that a picture can show."""


class AutomataConfig(Config):
    """How finite-state automata are looked for."""

    n_tokens_raised: Annotated[int, Field(ge=1, le=1000)] = 15
    """Tokens of each latent that it raises most: next tokens that count as its own. At most as many as the index
    keeps."""

    least_pairs: Annotated[int, Field(ge=2, le=10**6)] = 50
    """Places of training documents on which a latent must be active with one of its tokens following ..."""

    least_documents: Annotated[float, Field(ge=1, le=10**6)] = 20.0
    """... and documents of one size that would tell as much as those that these are of; a latent that is led to must be
    active in as many of either."""

    least_confirming: Annotated[int, Field(ge=2, le=10**6)] = 20
    """Such places of test documents that a lead needs to be confirmed ..."""

    least_documents_confirming: Annotated[float, Field(ge=1, le=10**6)] = 3.0
    """... and such documents."""

    most_places: Count = 8000
    """Places of each latent that are looked at, spread evenly over those on which it is active."""

    most_tokens: Tokens = 2_000_000
    """Counted tokens of a split that are looked at: of a longer one rows are taken evenly."""

    n_shuffles: Shuffles = 19
    """Shuffles by which the thresholds are set."""

    most_states: States = 8
    """States of an automaton: what hangs together in more is taken apart at its weakest leads."""

    duplicates_from: Annotated[float, Field(gt=0, le=1)] = 0.9
    """States are one where their directions have this cosine or their activations this correlation."""

    most_kept: Count = 20_000
    """Leads that are kept, the strongest."""

    seed: Seed = 0
    """Seed of the shuffles."""
