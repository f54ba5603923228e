"""The tokens around positions of a corpus: looked up for many at once, cut where a document or a character ends."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.features.tokens import TokenTexts
from sparselex.text.rows import TokenRows

BEFORE, AFTER = 30, 12
"""Tokens shown before and after an example: what the model read matters more than what came next."""

_FURTHER = 8
"""How much further out a piece may reach rather than cut through what is drawn as one sign: a character is four bytes
at most and a token one at least, and marks stand behind the letter that bears them."""


class Piece(NamedTuple):
    """Tokens around one position, inside its row and its document."""

    document: int
    """Number of the document."""

    start: int
    """Position of the first token."""

    tokens: list[int]
    """Their ids."""

    place: int
    """Which of them stands at the position."""

    cut_before: bool
    """Whether the document goes on before them, in the same row."""

    cut_after: bool
    """Whether it goes on behind them."""

    @property
    def stop(self) -> int:
        """The position behind the last token."""
        return self.start + len(self.tokens)


def pieces(corpus: TokenRows, texts: TokenTexts, positions: Sequence[int]) -> list[Piece]:
    """What stands around each of `positions`. Raises `UserError` for one that is not in the corpus: it may come from a
    database that somebody has changed."""
    if not positions:
        return []
    rows, columns = np.divmod(_checked(corpus, positions), corpus.n_ctx)
    owners = np.asarray(corpus.documents[rows])
    owner = owners[np.arange(len(rows)), columns]
    own = owners == owner[:, None]
    first, end = own.argmax(1), corpus.n_ctx - own[:, ::-1].argmax(1)
    # From here on places are counted from where the tokens begin that are looked at.
    begun = (columns - BEFORE - _FURTHER).clip(min=0)
    reach = np.minimum(begun[:, None] + np.arange(BEFORE + AFTER + 2 * _FURTHER + 1), corpus.n_ctx - 1)
    tokens = np.asarray(corpus.tokens[rows[:, None], reach])
    numbers = np.stack([owner, rows * corpus.n_ctx + begun, columns - begun, first - begun, end - begun], axis=1)
    return [_piece(texts, near, *each) for near, each in zip(tokens.tolist(), numbers.tolist(), strict=True)]


class Passage(NamedTuple):
    """The text around one position: all of its row that is of its document, or all of the document."""

    document: int
    """Number of the document."""

    positions: NDArray[np.int64]
    """Positions of its tokens, ascending; row heads and separators between them are left out."""

    cut_before: bool
    """Whether the document goes on before them."""

    cut_after: bool
    """Whether it goes on behind them."""


def passage(corpus: TokenRows, position: int, *, whole: bool, most: int = 20_000) -> Passage:
    """What stands around a position in its row, or in the whole document, of which at most about `most` tokens are
    taken, those nearest to it. Raises `UserError` like `pieces`."""
    (row,), (column,) = np.divmod(_checked(corpus, [position]), corpus.n_ctx)
    owner = int(corpus.documents[row, column])
    if owner < 0:  # a row head or padding has no text of its own
        return Passage(owner, np.array([position]), False, False)
    most_rows = max(1, most // (2 * corpus.n_ctx)) if whole else 0
    first, last = int(row), int(row)
    while first > max(0, row - most_rows) and owner in corpus.documents[first - 1]:
        first -= 1
    while last < min(corpus.n_rows - 1, row + most_rows) and owner in corpus.documents[last + 1]:
        last += 1
    inside = np.asarray(corpus.documents[first : last + 1]).reshape(-1) == owner
    return Passage(
        owner,
        first * corpus.n_ctx + np.flatnonzero(inside),
        first > 0 and owner in corpus.documents[first - 1],
        last + 1 < corpus.n_rows and owner in corpus.documents[last + 1],
    )


def _piece(texts: TokenTexts, tokens: list[int], owner: int, begun: int, at: int, first: int, end: int) -> Piece:
    """The piece around place `at` of `tokens`, the first of which stands at position `begun`, in a document from
    `first` to `end`; some tokens further out rather than inside a sign."""
    start, stop = max(first, at - BEFORE), min(end, at + AFTER + 1)
    for _ in range(_FURTHER):
        start -= start > first and texts.continues(tokens[start])
        stop += stop < end and texts.continues(tokens[stop])
    return Piece(owner, begun + start, tokens[start:stop], at - start, start > first, stop < end)


def _checked(corpus: TokenRows, positions: Sequence[int]) -> NDArray[np.int64]:
    n_positions = corpus.n_rows * corpus.n_ctx
    for position in positions:
        if not 0 <= position < n_positions:
            raise UserError(
                f"An example lies at position {position} of the corpus.",
                f"one of its {n_positions:,} positions",
                "explain the run again.",
            )
    return np.array(positions, dtype=np.int64)
