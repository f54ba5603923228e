"""Proxies that are scripts of Unicode, scored as in the 2023 paper by Bayes' rule, tokens that are parts of characters
by what they are mostly part of."""

import codecs
import difflib
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import regex
from numpy.typing import NDArray

from sparselex.atlas.proxies.proxy import LEAST, Background
from sparselex.atlas.proxies.text import Span, SplitText
from sparselex.base.config import Config
from sparselex.base.errors import UserError

SCRIPTS = (
    *("Arabic", "Armenian", "Bengali", "Bopomofo", "Braille", "Canadian_Aboriginal", "Cherokee", "Coptic", "Cyrillic"),
    *("Devanagari", "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Greek", "Gujarati", "Gurmukhi", "Han", "Hangul"),
    *("Hebrew", "Hiragana", "Javanese", "Kannada", "Katakana", "Khmer", "Lao", "Malayalam", "Mongolian", "Myanmar"),
    *("Nko", "Ogham", "Oriya", "Runic", "Sinhala", "Syriac", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan", "Yi"),
)
"""Scripts that are looked for where none is named; Latin, which nearly every token of most texts is of, is not."""


class ScriptProxy(Config):
    """Tokens of which every character is of one script, the log of how much likelier that is than of any token.

    A token that holds a part of a character is as likely of the script as it is on average in training text, and surely
    where the token completes a character of which the others were just read (Bricken et al. 2023, appendix on feature
    proxies). Characters that several scripts share, such as spaces and digits, count against it; marks that it shares
    with some others do not: it is Unicode's script extensions that count, and not its blocks, which hold characters of
    no script.
    """

    edges: ClassVar[tuple[float, ...]] = (0.0,)

    kind: Literal["script"] = "script"
    """Which kind of rule it is."""

    script: str
    """Name of the script in Unicode, such as Greek."""

    @property
    def words(self) -> str:
        """Which it is."""
        return f"tokens of {self.script} characters alone"

    def learn(self, train: SplitText, background: Background) -> "LearnedScript":
        """How often each token of training text is of the script."""
        return LearnedScript(_characters(self.script), train, background)


class LearnedScript:
    """A script beside some training text."""

    def __init__(self, characters: Any, train: SplitText, background: Background):
        self._is_of = characters
        counts = background.counts.astype(np.float64)
        data = train.token_bytes
        self.whole = np.array([_whole(one) for one in data], dtype=bool)
        """`[n_vocab]`, whether a token is whole characters."""

        of = np.array([bool(one) and self._all_of(one) for one in data], dtype=bool)
        # A part of a character, by all that it touches wherever it stands in training text.
        n, n_of = (np.zeros(len(data)) for _ in range(2))
        parts = np.flatnonzero(~self.whole[train.tokens])
        touched = self.touched_is_of(train)[parts]
        np.add.at(n, train.tokens[parts], 1.0)
        np.add.at(n_of, train.tokens[parts], touched)
        shares = np.divide(n_of, n, out=np.zeros(len(data)), where=n > 0)
        self.share = np.where(self.whole, of, shares)
        """`[n_vocab]`, how likely each token is of the script, seen alone."""

        floored = np.maximum(self.share, LEAST)
        self.base = float((floored * counts).sum() / max(1.0, counts.sum()))
        """How likely any token is."""

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, the score of every token."""
        likely = np.maximum(self.share[text.tokens], LEAST)
        likely[self._completes(text)] = 1.0
        return np.log(likely) - np.log(max(self.base, LEAST))

    def touched_is_of(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, 1 where every character of which a token holds a byte is of the script, else 0."""
        other = regex.compile(rf"[^{self._is_of.pattern[1:-1]}]+")

        def outside(document: int, words: str) -> Iterable[Span]:
            return [(0, len(words))] if words.isascii() else (found.span() for found in other.finditer(words))

        return (~text.inside(outside)).astype(np.float64)

    def _completes(self, text: SplitText) -> NDArray[np.int64]:
        """Places of tokens that end a character which earlier ones in the same row began, all of it of the script."""
        found, waiting, since = [], b"", -2
        for place in np.flatnonzero(~self.whole[text.tokens]).tolist():
            begun = waiting if place == since + 1 and text.windows[place] > 0 else b""
            decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
            decoded = decoder.decode(begun + text.token_bytes[int(text.tokens[place])])
            waiting, since = decoder.getstate()[0], place
            if begun and decoded and not waiting and self._is_of.sub("", decoded) == "":
                found.append(place)
        return np.array(found, dtype=np.int64)

    def _all_of(self, data: bytes) -> bool:
        return self._is_of.sub("", data.decode("utf-8", "surrogateescape")) == ""


def scripts_in(text: SplitText) -> dict[str, int]:
    """How many tokens hold a character of each of `SCRIPTS`, of those of which there is one."""
    seen = Counter[str]()
    for words in text.texts:
        if not words.isascii():
            seen.update(regex.sub(r"[\p{ASCII}\p{Latin}\p{Common}]", "", words))
    every = "".join(seen)
    there = [name for name in SCRIPTS if regex.search(rf"\p{{Script={name}}}", every)]
    found = {}
    for name in there:
        one = regex.compile(rf"\p{{Script={name}}}+")
        found[name] = int(text.inside(partial(_spans, one)).sum())
    return found


def _spans(pattern: Any, document: int, words: str) -> Iterable[Span]:
    return () if words.isascii() else (found.span() for found in pattern.finditer(words))


def _characters(script: str) -> Any:
    """A pattern of one character of a script. Raises `UserError` for an unknown one."""
    try:
        return regex.compile(rf"[\p{{scx={script}}}]")
    except regex.error:
        near = difflib.get_close_matches(script.capitalize(), SCRIPTS, n=3)
        raise UserError(
            f"Unicode has no script {script!r}.",
            f"the name of a script, such as {', '.join(SCRIPTS[:3])}, Greek or Han",
            f"did you mean {' or '.join(near)}?" if near else "look its name up in Unicode's list of scripts.",
        ) from None


def _whole(data: bytes) -> bool:
    """Whether bytes are whole characters."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
