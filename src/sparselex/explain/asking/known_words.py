"""Words of validation documents, each with windows that hold it and windows that do not: what is known beforehand."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Kind
from sparselex.explain.asking.mistaken import some
from sparselex.explain.asking.words import plain, quoted
from sparselex.explain.evidence import SplitEvidence

_SHARE = (0.005, 0.3)
"""Of the windows in which a word stands: neither hardly any nor most."""

_LETTERS = 3
"""Of a word, at least."""


class Word(NamedTuple):
    """A word, and where it stands."""

    token: int
    """The token that is this word."""

    text: str
    """The word itself."""

    holding: NDArray[np.int64]
    """`[n]`, the windows in which the token stands, ascending."""

    lacking: NDArray[np.int64]
    """`[n]`, the windows in whose text the word does not stand, in whatever tokens, ascending."""

    @property
    def description(self) -> str:
        """What is true of the windows that hold it, as an explanation would say it."""
        return f"contains the word {quoted(self.text)}"


class Words:
    """Tokens that are whole words, and stand in some windows and not in others.

    Args:
        evidence: validation documents.
        config: how many words, and of how large windows.
    """

    def __init__(self, evidence: SplitEvidence, config: AskConfig):
        self.evidence, self.config, self.windows = evidence, config, evidence.windows(config.window)

    def drawn(self, rng: np.random.Generator) -> list[Word]:
        """As many words as there are to be descriptions, or all where there are fewer."""
        usable = np.flatnonzero(self.windows.usable)
        return [self._word(token, usable) for token in some(self._tokens, self.config.check, rng).tolist()]

    def item(self, number: int, kind: Kind) -> Item:
        """A window to be judged, without marks."""
        ranks, tokens = self.windows.ranks(number), self.evidence.tokens
        shown = tuple(tokens.tokens[ranks.start : ranks.stop].tolist())
        return Item(number, kind, False, int(tokens.positions[ranks.start]), 0.0, self.texts[number], shown)

    @cached_property
    def texts(self) -> dict[int, str]:
        """The text of every usable window, by its number."""
        tokens, vocabulary = self.evidence.tokens.tokens, self.evidence.vocabulary
        ranges = ((number, self.windows.ranks(number)) for number in np.flatnonzero(self.windows.usable).tolist())
        return {number: plain(vocabulary, tokens[ranks.start : ranks.stop].tolist()) for number, ranks in ranges}

    def _word(self, token: int, usable: NDArray[np.int64]) -> Word:
        word = plain(self.evidence.vocabulary, [token]).strip()
        standing = np.unique(self._window_of[self.evidence.tokens.tokens == token])
        # Of windows in which it stands in other tokens, or as a part of another word, nothing is known.
        without = np.array([n for n in usable.tolist() if word.lower() not in self._lower[n]], dtype=np.int64)
        return Word(token, word, np.intersect1d(standing, usable), without)

    @cached_property
    def _lower(self) -> dict[int, str]:
        return {number: text.lower() for number, text in self.texts.items()}

    @cached_property
    def _window_of(self) -> NDArray[np.int64]:
        return self.windows.of(np.arange(len(self.evidence.tokens.tokens)))

    @cached_property
    def _tokens(self) -> NDArray[np.int64]:
        """Every token that might be a description's word."""
        tokens, n = self.evidence.tokens.tokens, max(1, len(self.windows))
        pairs = np.unique(np.stack([tokens, self._window_of]), axis=1)[0]
        shares = np.bincount(pairs, minlength=self.evidence.tokens.n_vocab) / n
        often = np.flatnonzero((shares >= _SHARE[0]) & (shares <= _SHARE[1])).tolist()
        return np.array([token for token in often if self._is_word(token)], dtype=np.int64)

    def _is_word(self, token: int) -> bool:
        text = plain(self.evidence.vocabulary, [token])
        return text.startswith(" ") and text[1:].isalpha() and len(text) > _LETTERS
