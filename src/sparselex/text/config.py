"""How documents become rows: a configuration that takes nothing to load."""

from typing import Literal

from pydantic import model_validator

from sparselex.base.bounds import RowTokens, Tokens
from sparselex.base.config import Config


class CorpusConfig(Config):
    """How documents become rows."""

    source: str
    """Where the documents come from, as given; part of the corpus's identity."""

    n_ctx: RowTokens = 128
    """Tokens in a row, BOS included."""

    layout: Literal["packed", "prompts"] = "packed"
    """`packed`: documents one after another, cut where a row ends; `prompts`: one document a row, padded behind it."""

    n_tokens: Tokens | None = None
    """Stop after the document that reaches this many tokens; None takes every document."""

    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Expected shares of documents in train, validation and test."""

    seed: int = 0
    """Seed of the split and of nothing else."""

    @model_validator(mode="after")
    def _possible(self) -> "CorpusConfig":
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares must be non-negative and sum to 1, not {self.shares}")
        return self
