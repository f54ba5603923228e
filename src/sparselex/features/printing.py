"""Tokens and text as people read them: nothing hidden, every token by one name."""

import re
import unicodedata
from collections import Counter
from functools import cached_property, lru_cache

from sparselex.base.vocabulary import Vocabulary


def visible(text: str, *, active: bool = True) -> str:
    """Text in which nothing lies hidden.

    Line ends and control characters become signs everywhere, so that an example stays on its lines and no
    bidirectional mark can reorder its neighbours. Where the token is `active` and has nothing to see, its
    spaces become signs as well: heat must not lie on nothing.
    """
    blank = active and not any(map(_has_ink, text))
    if text.isprintable() and not blank:
        return text
    if blank:
        return "".join(_sign(char, blank) for char in text)
    return _HIDDEN.sub(lambda found: _sign(found[0], blank), text)


@lru_cache(maxsize=1 << 16)
def shown(sign: str) -> str:
    """A sign on which heat may lie, made visible: worked out once, for the same few thousand are on every page."""
    return visible(sign)


@lru_cache(maxsize=1 << 16)
def shown_silent(sign: str) -> str:
    """A sign of silent text."""
    return visible(sign, active=False)


class TokenPrinter:
    """The name of each token of a vocabulary, in lists (`label`) and within sentences (`quoted`).

    Every space is a sign, for a leading space is half of what a token is, and five spaces or more are a count (`·×8`):
    nobody counts blanks. Broken bytes are shown as \\xNN. Where several tokens would have the same name (a
    byte-fallback token and the ordinary one), all but the last bear their number behind it: `a#17`.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._labels: dict[int, str] = {}

    def label(self, token: int) -> str:
        """The token as it stands in lists."""
        if token not in self._labels:
            self._labels[token] = self._text(token) + self._number(token)
        return self._labels[token]

    def quoted(self, token: int) -> str:
        """The token within a sentence: quotes and backslashes of its own are escaped, and no two tokens are written
        alike."""
        escaped = self._text(token).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"{self._number(token)}'

    def _text(self, token: int) -> str:
        return self._texts[token] if token in self._vocabulary else _spaced(self._vocabulary.text(token))

    @cached_property
    def _texts(self) -> list[str]:
        return [_spaced(self._vocabulary.text(token)) for token in range(len(self._vocabulary))]

    @cached_property
    def _doubles(self) -> dict[str, int]:
        """Texts that several tokens have, with the last of these tokens."""
        shared = {text for text, n in Counter(self._texts).items() if n > 1}
        return {text: token for token, text in enumerate(self._texts) if text in shared}

    def _number(self, token: int) -> str:
        return "" if self._doubles.get(self._text(token), token) == token else f"#{token}"


def _spaced(text: str) -> str:
    """Visible text with a sign for every space and tab."""
    shown = visible(text).replace(" ", _SPACE).replace("\t", _SIGNS["\t"])
    return re.sub(f"{_SPACE}{{5,}}", lambda run: f"{_SPACE}×{len(run[0])}", shown)


_SPACE = "·"
_SIGNS = {"\n": "↵", "\t": "→", " ": _SPACE, "\x7f": "␡"}
_HIDDEN = re.compile("[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but for the tab, ends of lines and paragraphs, and what turns the direction of text."""


@lru_cache(maxsize=4096)
def _has_ink(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf")


@lru_cache(maxsize=4096)
def _sign(char: str, blank: bool) -> str:
    if char == "\t":
        return _SIGNS[char] if blank else char
    if char in "\n\x7f":
        return _SIGNS[char]
    if unicodedata.category(char) == "Cc":
        return chr(0x2400 + ord(char)) if ord(char) < 32 else _escape(char)
    if _HIDDEN.match(char):
        return _escape(char)
    if blank and not _has_ink(char):
        return _SIGNS.get(char) or _escape(char)
    return char


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
