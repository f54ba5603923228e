"""Tokens as text: which of them are drawn as one sign, and how each is named. Shared by all pages of a corpus."""

import codecs
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.printing import TokenPrinter

_JOINER = "\u200d"


class Signs(NamedTuple):
    """Tokens grouped by what is drawn as one sign."""

    texts: list[str]
    """Text of each sign: whole characters."""

    starts: list[int]
    """Where the tokens of each sign begin, ascending, and behind the last where they end."""


class TokenTexts:
    """The texts of a vocabulary's tokens, each worked out once."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self.whole = cache(self._whole)
        self.continues = cache(self._continues)
        self.named = cache(self._named)
        self._alone = cache(self._own_sign)
        self.printer = TokenPrinter(vocabulary)

    def label(self, token: int) -> str:
        """The token as it stands in lists."""
        return self.printer.label(token)

    def _named(self, token: int) -> str:
        """The token as it stands in lists, and its id."""
        return f"{self.label(token)}  token {token}"

    def _continues(self, token: int) -> bool:
        """Whether a token begins inside a UTF-8 character."""
        return b"\x80" <= self._vocabulary.token_bytes(token)[:1] < b"\xc0"

    def signs(self, tokens: Sequence[int]) -> Signs:
        """Tokens grouped by what is drawn as one sign, such as an emoji with its skin tone."""
        texts = [text for text in map(self._alone, tokens) if text is not None]
        if len(texts) == len(tokens):  # nearly all text
            return Signs(texts, list(range(len(tokens) + 1)))
        found = Signs([], [0])
        for text, end in self._decoded(tokens):
            if found.texts and (_extends(text[:1]) or found.texts[-1].endswith(_JOINER)):
                found.texts[-1] += text
                found.starts[-1] = end
            else:
                found.texts.append(text)
                found.starts.append(end)
        return found

    def _decoded(self, tokens: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Texts of groups of tokens whose bytes are whole characters, and where each group ends; broken bytes are shown
        by their numbers."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        text, pending = "", False
        for end, token in enumerate(tokens, 1):
            whole = self.whole(token)
            if whole is not None and not pending:
                yield whole, end
                continue
            text += decoder.decode(self._vocabulary.token_bytes(token), final=end == len(tokens))
            pending = bool(decoder.getstate()[0])
            if not pending:
                yield text, end
                text = ""

    def _own_sign(self, token: int) -> str | None:
        """The text of a token that is drawn on its own whatever stands beside it, else None."""
        text = self.whole(token)
        return None if text is None or _extends(text[:1]) or text.endswith(_JOINER) else text

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
