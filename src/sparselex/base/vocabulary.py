"""The vocabulary of a tokenizer as bytes: all that later stages and pages need of a tokenizer."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np


class Vocabulary:
    """Token id to bytes. A token may be any bytes, also part of one character.

    `token_bytes[i]` are the bytes that token `i` stands for; special tokens stand for no bytes of the text and
    carry their printed name. So do ids that no token has: models with more rows in their embedding than their
    tokenizer has tokens (padded vocabularies) predict and rank them like any other.
    """

    def __init__(self, token_bytes: list[bytes], special_ids: Iterable[int] = ()):
        self._bytes = list(token_bytes)
        self.special_ids = frozenset(int(i) for i in special_ids)

    def __len__(self) -> int:
        return len(self._bytes)

    def __contains__(self, token_id: int) -> bool:
        return 0 <= token_id < len(self._bytes)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes token `token_id` adds to a text; for a special token, and an id that no token has, its name."""
        return self._bytes[token_id] if token_id in self else f"<no token {token_id}>".encode()

    def text(self, token_id: int) -> str:
        """The token as printable text; bytes that are no complete UTF-8 character are shown as \\xNN."""
        return self.token_bytes(token_id).decode("utf-8", errors="backslashreplace")

    def bytes_of(self, token_ids: Iterable[int]) -> bytes:
        """The bytes of a text given as tokens; special tokens, and ids that no token has, add nothing."""
        return b"".join(self._bytes[i] for i in token_ids if i not in self.special_ids and i in self)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of a token sequence; broken UTF-8 (a cut through a character) is shown as \\xNN."""
        return self.bytes_of(token_ids).decode("utf-8", errors="backslashreplace")

    def save(self, folder: Path) -> None:
        """Write `vocabulary-bytes.npy`, `vocabulary-ends.npy` and `vocabulary-special.npy`."""
        lengths = [len(token) for token in self._bytes]
        np.save(folder / "vocabulary-bytes.npy", np.frombuffer(b"".join(self._bytes), dtype=np.uint8))
        np.save(folder / "vocabulary-ends.npy", np.cumsum(lengths, dtype=np.int64))
        np.save(folder / "vocabulary-special.npy", np.array(sorted(self.special_ids), dtype=np.int64))

    @classmethod
    def load(cls, file: Callable[[str], Path]) -> "Vocabulary":
        """Read what `save` wrote; `file` gives the path of a file by its name."""
        data = np.load(file("vocabulary-bytes.npy")).tobytes()
        ends = np.load(file("vocabulary-ends.npy")).tolist()
        starts = [0, *ends[:-1]]
        special = np.load(file("vocabulary-special.npy")).tolist()
        return cls([data[start:end] for start, end in zip(starts, ends, strict=True)], special)
