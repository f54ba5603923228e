"""A model of this process that can be asked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Encode = Callable[[Sequence[dict[str, str]]], list[int]]


class Speaker(NamedTuple):
    """A model with what turns questions into its tokens, and its tokens into text."""

    hf: Any
    """A Hugging Face causal language model."""

    name: str

    encode: Encode
    """Tokens of a chat up to where the answer begins; nothing inside a message is a special token."""

    decode: Callable[[Sequence[int]], str]
    """Text of tokens."""

    tokens: Callable[[str], list[int]]
    """Tokens of a text."""

    ends: frozenset[int]
    """Tokens that end an answer."""

    begins: int | None = None
    """Token that a text which has nothing before it is read behind; None where the tokenizer has none."""

    always_begins: bool = False
    """Whether it begins every text."""
