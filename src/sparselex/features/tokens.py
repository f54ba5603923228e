"""Tokens as text: which of them are drawn as one sign, and how each is named. Shared by all pages of a corpus."""

import codecs
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import regex

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.printing import TokenPrinter

_SIGN = regex.compile(r"(?:க்ஷ|[ஶஸ]்ர)\p{M}*|\X", regex.DOTALL)
"""One sign: an extended grapheme cluster of Unicode's annex 29, and the two conjuncts of Tamil, which the annex leaves
apart because its virama mostly stands for itself."""

_MAY_JOIN = regex.compile(
    r"[\p{M}\p{Cf}\p{RI}\p{EMod}\p{ExtPict}\p{InCB=Consonant}\p{Script=Tamil}"
    r"\p{GCB=L}\p{GCB=V}\p{GCB=T}\p{GCB=Prepend}\r]"
)
"""Characters that may be one sign with what stands beside them."""

_EXTENDS = regex.compile(r"[\p{M}\u200c\u200d\p{EMod}]")
"""Characters that are drawn into the one before them, whatever it is."""


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

    def bytes_of(self, token: int) -> str:
        """The token's bytes as hexadecimal numbers: `e0 ae a4`."""
        return self._vocabulary.token_bytes(token).hex(" ")

    def _named(self, token: int) -> str:
        """The token as it stands in lists, its id, and where it is no plain text its bytes."""
        is_plain = self._vocabulary.token_bytes(token).isascii()
        return f"{self.label(token)}  token {token}" + ("" if is_plain else f"  bytes {self.bytes_of(token)}")

    def _continues(self, token: int) -> bool:
        """Whether a token begins inside a UTF-8 character, or with one that is drawn into the character before it."""
        data = self._vocabulary.token_bytes(token)
        if b"\x80" <= data[:1] < b"\xc0":
            return True
        return not data[:1].isascii() and _EXTENDS.match(data[:4].decode("utf-8", errors="ignore")) is not None

    def signs(self, tokens: Sequence[int]) -> Signs:
        """Tokens grouped by what is drawn as one sign: a letter with its marks, an Indic conjunct, a flag, an emoji
        with its skin tone, a family."""
        texts = [text for text in map(self._alone, tokens) if text is not None]
        if len(texts) == len(tokens):  # nearly all text
            return Signs(texts, list(range(len(tokens) + 1)))
        groups = list(self._decoded(tokens))
        whole = "".join(text for text, _ in groups)
        ends = {found.end() for found in _SIGN.finditer(whole)}
        found, begun, at = Signs([], [0]), 0, 0
        for text, end in groups:
            at += len(text)
            if at in ends or end == len(tokens):
                found.texts.append(whole[begun:at])
                found.starts.append(end)
                begun = at
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
        if text is None or not text or text.isascii():
            return None if text is not None and text.endswith("\r") else text
        return None if _MAY_JOIN.match(text[0]) or _MAY_JOIN.match(text[-1]) else text

    def _whole(self, token: int) -> str | None:
        """The text of a token that is whole characters, else None."""
        try:
            return self._vocabulary.token_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return None
