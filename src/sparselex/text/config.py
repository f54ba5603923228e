"""How documents become rows: a configuration that takes nothing to load."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sparselex.base.bos import Bos
from sparselex.base.bounds import RowTokens, Seed, Tokens
from sparselex.base.config import Config


def _whole(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must sum to 1, not {shares}")
    return shares


_Share = Annotated[float, Field(ge=0, le=1)]

Shares = Annotated[tuple[_Share, _Share, _Share], AfterValidator(_whole)]
"""Shares of documents in train, validation and test."""


class HeldOutDocuments(Config):
    """Documents that a model was not trained on: those whose names a draw chose before it was made."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Share of documents held out."""

    seed: Seed
    """Seed of the draw."""


class CorpusConfig(Config):
    """How documents become rows."""

    source: str
    """Where the documents come from, as given; part of the corpus's identity."""

    text_field: str = ""
    """Field of a record that holds its text, its token ids or its messages; empty for the one that is found."""

    documents: Literal["file", "line"] = "file"
    """Whether a plain file is one document, or each of its lines."""

    n_ctx: RowTokens = 128
    """Tokens in a row, BOS included where there is one."""

    bos: Bos = "auto"
    """Whether every row begins with the tokenizer's BOS: `auto` where the tokenizer itself begins a text with it,
    `always` where it has one, or `never`."""

    layout: Literal["packed", "prompts"] = "packed"
    """`packed`: documents one after another, cut where a row ends; `prompts`: one document a row, padded behind it."""

    n_tokens: Tokens | None = None
    """Stop after the document that reaches this many tokens; None takes every document. With `held_out`, such documents
    are taken beyond it until they have the share of it that `shares` gives to test."""

    shares: Shares = (0.8, 0.1, 0.1)
    """Expected shares of documents in train, validation and test; with `held_out`, of train and validation."""

    seed: int = 0
    """Seed of the split and of nothing else."""

    copies: Literal["together", "apart"] = "together"
    """`together`: documents that are copies of each other, most of one standing in the other, share a split (prompts,
    which are alike by nature, if they are equal); `apart`: each is drawn by its own name, as earlier versions did."""

    held_out: HeldOutDocuments | None = None
    """Documents of this text that the model read was not trained on: they alone are then the test split, and not if
    copies of them were trained on. None: it is not known what the model has learned, or not from this text."""

    @model_validator(mode="after")
    def _possible(self) -> "CorpusConfig":
        if self.held_out and not self.shares[0]:
            raise ValueError(f"of what the model was trained on some must go to train, not {self.shares}")
        return self

    def to_json(self) -> dict[str, Any]:
        """The fields as they are kept with the corpus and decide which one it is. What earlier versions did has no word
        there, so that theirs are the same corpora still; `as_kept` reads it."""
        values = super().to_json()
        return {name: value for name, value in values.items() if (name, value) not in _EARLIER}


_EARLIER = (("copies", "apart"), ("held_out", None), ("text_field", ""), ("documents", "file"), ("bos", "always"))
"""What earlier versions did, and has no word in a corpus' configuration."""


def as_kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a corpus or run on disk. One of before near copies were looked for says nothing of them; one of
    before the BOS was a choice begins every row with it."""
    return {"copies": "apart", "bos": "always", **values}
