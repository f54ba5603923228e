"""What the text room asks of a tokenizer; the model adapter supplies it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from sparselex.base.vocabulary import Vocabulary


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and the bytes of every token."""

    id: str
    """Stable hash of the tokenizer: equal ids tokenize equally."""

    vocabulary: Vocabulary
    """Bytes of every token and the ids of special tokens."""

    bos_id: int | None
    """Token that may begin a row, or None."""

    adds_bos: bool
    """Whether the tokenizer itself begins a text with that token, or says that its model was trained so."""

    eos_id: int | None
    """Token put between documents, or None."""

    pad_id: int | None
    """Token that fills the last row, or None."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added; special names inside a text are ordinary text."""
        ...


@runtime_checkable
class ChatTokenizer(Protocol):
    """A tokenizer that may know how its model writes a chat."""

    has_chat_template: bool
    """Whether it does."""

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of a chat as the template writes it, the special ones among them. Raises `UserError` for messages
        that the template refuses."""
        ...
