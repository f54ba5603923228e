"""The text of one split cut into windows: what a language model is shown. Arrays in, arrays out."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.features.counted import Column, CountedTokens

Sampling = Literal["intervals", "top", "random"]
"""Which active windows are shown: an equal share from each tenth of them by size, the largest, or any."""

_TENTHS = 10


class ActiveWindows(NamedTuple):
    """The windows in which a latent is active, ascending."""

    numbers: NDArray[np.int64]
    """`[n]`, which they are."""

    peaks: Floats
    """`[n]`, the largest activation in each."""


class TokenWindows:
    """Windows of up to `size` counted tokens, each inside one row and one document: the cells of a grid over the rows,
    cut where a document ends. Of those with fewer than half of `size` tokens nothing is shown.

    Args:
        tokens: the counted tokens of one split.
        n_ctx: tokens in a row.
        size: tokens in a whole window.
    """

    starts: NDArray[np.int64]
    """`[n + 1]`, rank of the first token of each window, and behind the last the number of tokens."""

    documents: NDArray[np.int64]
    """`[n]`, the document of each, numbered from 0 within the split."""

    usable: NDArray[np.bool_]
    """`[n]`, whether a window is long enough to be shown."""

    def __init__(self, tokens: CountedTokens, n_ctx: int, size: int):
        self.tokens, self.size = tokens, size
        rows, columns = np.divmod(tokens.positions, n_ctx)
        cells = rows * -(-n_ctx // size) + columns // size
        new = np.ones(len(tokens), dtype=bool)
        new[1:] = (cells[1:] != cells[:-1]) | (tokens.documents[1:] != tokens.documents[:-1])
        begin = np.flatnonzero(new)
        self.starts = np.append(begin, len(tokens))
        self.documents = tokens.documents[begin]
        self.usable = np.diff(self.starts) >= -(-size // 2)

    def __len__(self) -> int:
        return len(self.documents)

    def ranks(self, number: int) -> range:
        """Ranks of the tokens of a window."""
        return range(int(self.starts[number]), int(self.starts[number + 1]))

    def of(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows in which these tokens stand."""
        return np.searchsorted(self.starts, ranks, "right") - 1

    def active(self, column: Column) -> ActiveWindows:
        """The usable windows in which a latent is active."""
        windows = self.of(column.ranks)
        inside = self.usable[windows]
        windows, values = windows[inside], column.values[inside]
        first = np.flatnonzero(np.diff(windows, prepend=-1))
        peaks = np.maximum.reduceat(values, first) if len(first) else np.empty(0)
        return ActiveWindows(windows[first], peaks)

    def silent(self, column: Column) -> NDArray[np.int64]:
        """The usable windows in which it is not active anywhere."""
        left = self.usable.copy()
        left[self.of(column.ranks)] = False
        return np.flatnonzero(left)

    def silent_at(self, column: Column, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the windows in which the latent is not active, those that hold one of these tokens."""
        there = np.zeros(len(self), dtype=bool)
        there[self.of(ranks)] = True
        there[self.of(column.ranks)] = False
        return np.flatnonzero(there & self.usable)


def activations(column: Column, ranks: range) -> Floats:
    """`[n]`, what a latent is at each of the tokens of a window."""
    found = np.zeros(len(ranks))
    first, end = np.searchsorted(column.ranks, [ranks.start, ranks.stop])
    found[column.ranks[first:end] - ranks.start] = column.values[first:end]
    return found


def drawn(active: ActiveWindows, how: Sampling, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places in `active` of `n` windows, or all where there are fewer: the largest first, earlier ones first among
    equals.

    By `intervals`, windows are put into ten equal parts by their peaks, and each gives as many, drawn at random; what
    one cannot give is drawn from all others.
    """
    order = np.argsort(-active.peaks, kind="stable")
    if len(order) <= n or how == "top":
        return order[:n]
    if how == "random":
        return order[np.sort(rng.choice(len(order), n, replace=False))]
    tenth = np.arange(len(order)) * _TENTHS // len(order)
    number = rng.permutation(len(order)).astype(np.float64)
    # The first of each tenth in a random order: a place among its own, then among all.
    by_tenth = np.lexsort((number, tenth))
    place = np.empty(len(order), dtype=np.int64)
    place[by_tenth] = np.arange(len(order)) - np.searchsorted(tenth, tenth[by_tenth])
    chosen = np.lexsort((number, place))[:n]
    return order[np.sort(chosen)]
