"""What tokens have in common by their spelling: one text but for case and spaces, a beginning or an end, a shape.

Every class is a number that rules keep: of a spelling, the first token that has it; of a beginning or an end, its
bytes; of a shape, its place in `SHAPES`.
"""

import re
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.vocabulary import Vocabulary

NONE = -1
"""Key of what has no key of a kind: no rule names it."""


class Shape(NamedTuple):
    """A regular shape of whole tokens, in words and as an expression over their bytes."""

    words: str
    pattern: re.Pattern[bytes]


def _shape(words: str, pattern: bytes) -> Shape:
    return Shape(words, re.compile(pattern))


# Rules that lie in databases keep the places of these: what is new goes to the end. The first that fits counts.
SHAPES = (
    _shape("digits", rb"[0-9]+"),
    _shape("a hexadecimal number with letters", rb"(?=.*[0-9])(?:0x)?[0-9a-f]+|(?=.*[0-9])(?:0[xX])?[0-9A-F]+"),
    _shape("one small letter", rb"[a-z]"),
    _shape("one capital letter", rb"[A-Z]"),
    _shape("small letters", rb"[a-z]+"),
    _shape("capital letters", rb"[A-Z]+"),
    _shape("a capital before small letters", rb"[A-Z][a-z]+"),
    _shape("camel case", rb"(?=.*[a-z])[A-Za-z]+"),
    _shape("underscores", rb"_+"),
    _shape("letters, digits and underscores", rb"[0-9A-Za-z_]+"),
    _shape("letters beyond ASCII", rb"(?:[A-Za-z]|[\xc3-\xf4][\x80-\xbf]+)+"),
    _shape("opening brackets", rb"[(\[{]+"),
    _shape("closing brackets", rb"[)\]}]+"),
    _shape("quotation marks", rb"[\"'`]+"),
    _shape("stops", rb"[.,:;!?]+"),
    _shape("other punctuation", rb"[!-/:-@\[-`{-~]+"),
    _shape("spaces alone", rb""),
    _shape("other text", rb"(?s:.*)"),
)

WIDEST = 63
"""Indentation is counted up to this many columns."""


def shape_key(token: bytes) -> int:
    """The shape of a token, spaces before it aside, and whether there are any; of one with the end of a line, the
    width of what follows that."""
    if b"\n" in token:
        return 1000 + min(WIDEST, len(token.rsplit(b"\n", 1)[1]))
    text = token.lstrip(b" ")
    place = next(place for place, shape in enumerate(SHAPES) if shape.pattern.fullmatch(text))
    return 2 * place + (len(text) < len(token))


def shape_words(key: int) -> str:
    """A shape in words."""
    if key >= 1000:
        return f"an end of line, then {_up_to(key - 1000, WIDEST)} columns"
    return SHAPES[key // 2].words + (" behind a space" if key % 2 else "")


def _up_to(n: int, most: int) -> str:
    return f"{n} or more" if n == most else str(n)


N_SHAPES = 1000 + WIDEST + 1
"""Above every key of a shape."""


def affix_key(token: bytes, n: int) -> int:
    """The first `n` characters of a token, spaces before it aside, or with -`n` the last; `NONE` for one that is
    shorter, or is broken."""
    try:
        text = token.lstrip(b" ").decode("utf-8")
    except UnicodeDecodeError:
        return NONE
    part = (text[:n] if n > 0 else text[n:]).encode()
    # A byte in front keeps apart what begins with zeros; eight bytes are all that a key holds.
    return int.from_bytes(b"\x01" + part, "big") if len(text) >= abs(n) and len(part) < 8 else NONE


def affix_text(key: int) -> bytes:
    """The bytes of a beginning or an end."""
    return key.to_bytes(8, "big").lstrip(b"\x00")[1:]


class TokenClasses:
    """The classes of every token of a vocabulary, `[n_vocab + 1]` each; what stands before the first token of a row
    or behind the last, `n_vocab`, is in none."""

    def __init__(self, vocabulary: Vocabulary):
        self._bytes = [vocabulary.token_bytes(token) for token in range(len(vocabulary))]

    @cached_property
    def spelling(self) -> NDArray[np.int64]:
        """The first token with the same text, but for case and spaces before it."""
        first: dict[bytes, int] = {}
        return self._of([first.setdefault(_folded(data), token) for token, data in enumerate(self._bytes)])

    @cached_property
    def shape(self) -> NDArray[np.int64]:
        """Keys of shapes."""
        return self._each(shape_key)

    @cached_property
    def affix(self) -> dict[int, NDArray[np.int64]]:
        """Keys of the first or last characters, by how many."""
        return {n: self._each(partial(affix_key, n=n)) for n in (2, 3, -2, -3)}

    @cached_property
    def ends_line(self) -> NDArray[np.int64]:
        """Whether a token has the end of a line in it."""
        return self._each(lambda data: int(b"\n" in data))

    @cached_property
    def tail(self) -> NDArray[np.int64]:
        """Columns behind the last end of line in a token, if they are blank."""
        return self._each(lambda data: _columns(data.rsplit(b"\n", 1)[1]) if b"\n" in data else 0)

    @cached_property
    def lead(self) -> NDArray[np.int64]:
        """Blank columns at the beginning of a token."""
        return self._each(lambda data: 0 if b"\n" in data else _columns(data))

    def _each(self, key: Callable[[bytes], int]) -> NDArray[np.int64]:
        return self._of([key(data) for data in self._bytes])

    def _of(self, keys: list[int]) -> NDArray[np.int64]:
        return np.array([*keys, NONE], dtype=np.int64)


@lru_cache(maxsize=4)
def classes_of(vocabulary: Vocabulary) -> TokenClasses:
    """The classes of a vocabulary, worked out once: batches of text are many, and vocabularies are few."""
    return TokenClasses(vocabulary)


def _folded(data: bytes) -> bytes:
    text = data.lstrip(b" ")
    try:
        return text.decode("utf-8").lower().encode()
    except UnicodeDecodeError:
        return text


def _columns(data: bytes) -> int:
    return len(data) - len(data.lstrip(b" \t"))
