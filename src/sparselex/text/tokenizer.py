"""What the text room asks of a tokenizer; the model adapter supplies it."""

from typing import Protocol, runtime_checkable

from sparselex.base.vocabulary import Vocabulary


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and the bytes of every token."""

    id: str
    """Stable hash of the tokenizer: equal ids tokenize equally."""

    vocabulary: Vocabulary
    """Bytes of every token and the ids of special tokens."""

    bos_id: int | None
    """Token put at the start of every row, or None."""

    eos_id: int | None
    """Token put between documents, or None."""

    pad_id: int | None
    """Token that fills the last row, or None."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added; special names inside a text are ordinary text."""
        ...
