"""Tokens and text as people read them: nothing hidden, every token by one name."""

import re
import unicodedata
from collections import Counter
from functools import cached_property, lru_cache

from sparselex.base.vocabulary import Vocabulary


def visible(text: str, *, active: bool = True, lines: bool = False) -> str:
    """Text in which nothing lies hidden, by the signs that stand for blanks everywhere.

    A space is `·`, a tab `→`, an end of line `↵`, another control character its picture (`␀`), and what has neither
    ink nor width (a zero-width space, a mark that turns the direction of text) its number (`\\u200b`): so an example
    stays on its lines, and nothing can reorder its neighbours. Silent text keeps its plain spaces and tabs: only heat
    must not lie on nothing, and a token with a space in front is another than the one without. With `lines` the line
    ends behind its sign as well.
    """
    if text.isascii() and text.isprintable():
        return text.replace(" ", _SPACE) if active else text
    shown = (_BLANK if active else _HIDDEN).sub(_sign, text)
    return shown.replace("↵", "↵\n") if lines and "\n" in text else shown


@lru_cache(maxsize=1 << 16)
def shown(sign: str, lines: bool = False) -> str:
    """A sign on which heat may lie, made visible: worked out once, for the same few thousand are on every page."""
    return visible(sign, lines=lines)


@lru_cache(maxsize=1 << 16)
def shown_silent(sign: str, lines: bool = False) -> str:
    """A sign of silent text."""
    return visible(sign, active=False, lines=lines)


def quoted(data: bytes) -> str:
    """Bytes within a sentence, in quotes; no others are written alike but for characters whose signs are the same."""
    text = data.replace(b"\\", b"\\\\").decode("utf-8", errors="backslashreplace")
    escaped = _spaced(text).replace('"', '\\"')
    return f'"{escaped}"'


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
        """The token within a sentence: quotes and backslashes of its own are escaped, those that stand for a broken
        byte are not, and no two tokens are written alike."""
        return quoted(self._vocabulary.token_bytes(token)) + self._number(token)

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
    """Visible text in which long runs of spaces are counted, and a mark that stands first is borne by a circle (`◌्`):
    it would else be drawn onto the quotation mark before it."""
    shown = re.sub(f"{_SPACE}{{5,}}", lambda run: f"{_SPACE}×{len(run[0])}", visible(text))
    return f"◌{shown}" if shown and unicodedata.category(shown[0])[0] == "M" else shown


_SPACE = "·"
_SIGNS = {"\n": "↵", "\t": "→", " ": _SPACE, "\x7f": "␡"} | {
    chr(n): chr(0x2400 + n) for n in range(32) if n not in (9, 10)
}
_UNSEEN = (
    "\x00-\x08\n-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff"
)
"""Control characters but for the tab, ends of lines and paragraphs, what turns the direction of text, what joins or
parts words without being seen, and halves of characters, which no page can hold."""
_HIDDEN = re.compile(f"[{_UNSEEN}]|^\u200c$|^\u200d$")
_BLANK = re.compile(f"[{_UNSEEN}\\s]|^[\u200c\u200d\ufe00-\ufe0f\U000e0000-\U000e01ef]+$")
"""The same and all other blanks; joiners and selectors where they are all there is."""


def _sign(found: re.Match[str]) -> str:
    return "".join(_SIGNS.get(char) or char.encode("unicode_escape").decode() for char in found[0])
