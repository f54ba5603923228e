"""Tokens at some places of a text and what stands around them in their rows: all that rules look at."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.shapes import NONE, WIDEST, classes_of
from sparselex.text.rows import TokenRows

Keys = NDArray[np.int64]

WITHIN = 16
"""How many tokens back a rule of recent tokens looks."""

LAST_PLACE = 31
"""Places of a line are told apart up to this one."""


class Surroundings:
    """Tokens at `positions` `[n]` of a corpus."""

    def __init__(self, corpus: TokenRows, positions: Keys):
        self.positions, self.n_vocab, self.n_ctx = positions, len(corpus.vocabulary), corpus.n_ctx
        self.column: Keys = positions % corpus.n_ctx
        self.classes = classes_of(corpus.vocabulary)
        self._corpus, self._tokens = corpus, corpus.tokens.reshape(-1)

    def at(self, offset: int) -> Keys:
        """The tokens so many places behind; `n_vocab`, which is no token's, where the row has none there."""
        column = self.column + offset
        there = (column >= 0) & (column < self.n_ctx)
        found = self._tokens[np.where(there, self.positions + offset, self.positions)]
        return np.where(there, found, self.n_vocab).astype(np.int64)

    def before(self, n: int) -> Keys:
        """The tokens `n` places before; `NONE` where the row has none there."""
        found = self.at(-n)
        return np.where(found < self.n_vocab, found, NONE)

    @cached_property
    def recent(self) -> NDArray[np.int32]:
        """`[n, WITHIN]`, each token that stands a few places before, once; `NONE` for those that come again."""
        found = np.full((len(self.positions), WITHIN), NONE, dtype=np.int32)
        for back in range(WITHIN):
            tokens = self.before(back + 1)
            again = (found[:, :back] == tokens[:, None]).any(1)
            found[:, back] = np.where(again, NONE, tokens)
        return found

    @property
    def place_in_line(self) -> Keys:
        """How many tokens of the line stand before each; `NONE` where the line began before the row."""
        begun = self._line_begun
        return np.where(begun >= 0, np.minimum(self.positions - begun - 1, LAST_PLACE), NONE)

    @property
    def indentation(self) -> Keys:
        """Blank columns with which the line of each token begins; `NONE` where that was before the row."""
        begun = self._line_begun
        breaks = np.maximum(begun, 0)
        # The last space before a word is often part of the word, which begins the line.
        first = self._tokens[np.minimum(breaks + 1, len(self._tokens) - 1)]
        width = self.classes.tail[self._tokens[breaks]] + self.classes.lead[first]
        return np.where(begun >= 0, np.minimum(width, WIDEST), NONE)

    @cached_property
    def _line_begun(self) -> Keys:
        """Position of the last token before each, in its row, that ends a line; -1 where there is none."""
        rows, of = np.unique(self.positions // self.n_ctx, return_inverse=True)
        ends = self.classes.ends_line[self._corpus.tokens[rows]] > 0
        places = np.where(ends, np.arange(self.n_ctx), -1)
        last = np.maximum.accumulate(places, axis=1)
        before = np.concatenate([np.full((len(rows), 1), -1), last[:, :-1]], axis=1)[of, self.column]
        return np.where(before >= 0, self.positions - self.column + before, -1)
