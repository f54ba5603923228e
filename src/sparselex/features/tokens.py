"""Tokens as text: which of them are drawn as one sign, and how each is named. Shared by all pages of a corpus."""

import codecs
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.printing import TokenPrinter

_JOINER = "\u200d"


class Part(NamedTuple):
    """Tokens whose bytes join into whole characters."""

    start: int
    text: str
    tokens: list[int]


class TokenTexts:
    """The texts of a vocabulary's tokens, each worked out once."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self.whole = cache(self._whole)
        self.printer = TokenPrinter(vocabulary)

    def label(self, token: int) -> str:
        """The token as it stands in lists."""
        return self.printer.label(token)

    def continues(self, token: int) -> bool:
        """Whether a token begins inside a UTF-8 character."""
        return b"\x80" <= self._vocabulary.token_bytes(token)[:1] < b"\xc0"

    def characters(self, tokens: Sequence[int]) -> list[Part]:
        """Tokens grouped by what is drawn as one sign, such as an emoji with its skin tone."""
        found: list[Part] = []
        for part in self._decoded(tokens):
            last = found[-1] if found else None
            if last and (_extends(part.text[:1]) or last.text.endswith(_JOINER)):
                found[-1] = Part(last.start, last.text + part.text, last.tokens + part.tokens)
            else:
                found.append(part)
        return found

    def _decoded(self, tokens: Sequence[int]) -> Iterator[Part]:
        """Tokens grouped so that each group's bytes are whole characters; broken bytes are shown as \\xNN."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        start, text = 0, ""
        for end, token in enumerate(tokens, 1):
            whole = self.whole(token)
            if whole is not None and start == end - 1:
                yield Part(start, whole, [token])
                start = end
                continue
            text += decoder.decode(self._vocabulary.token_bytes(token), final=end == len(tokens))
            if not decoder.getstate()[0]:
                yield Part(start, text, list(tokens[start:end]))
                start, text = end, ""

    def _whole(self, token: int) -> str | None:
        """The text of a token that is whole characters, else None."""
        try:
            return self._vocabulary.token_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return None


def _extends(char: str) -> bool:
    """Whether a character is drawn into the one before it (the common cases of Unicode's annex 29)."""
    if char < "\u0300":
        return False
    skin_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
    return char == _JOINER or skin_tone or unicodedata.category(char) in ("Mn", "Me")
