"""The counted tokens of one split, and where among them a latent is active."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.text.rows import TokenRows, tokens_at
from sparselex.text.splits import Split


class CountedTokens:
    """All counted tokens of a split in the order of the corpus. A *rank* numbers them.

    Args:
        corpus: the text.
        counted: `[n_rows * n_ctx]`, True where a token was counted (not masked).
        split: which documents.
    """

    corpus: TokenRows
    """The text that they are of."""

    positions: NDArray[np.int64]
    """`[n]`, where in the corpus each token stands."""

    tokens: NDArray[np.int64]
    """`[n]`, their ids."""

    previous: NDArray[np.int64]
    """`[n]`, id of the token before each in its row; `n_vocab`, which is no token's, for the first of a row."""

    documents: NDArray[np.int64]
    """`[n]`, the document of each, numbered from 0 within the split."""

    n_documents: int
    """Documents of the split that have counted tokens."""

    n_vocab: int
    """Tokens that there are."""

    def __init__(self, corpus: TokenRows, counted: NDArray[np.bool_], split: Split):
        self.corpus, rows = corpus, corpus.row_ranges[split]
        start, stop = rows.start * corpus.n_ctx, rows.stop * corpus.n_ctx
        local = np.flatnonzero(counted[start:stop])
        owners = np.asarray(corpus.documents[rows.start : rows.stop]).reshape(-1)[local]
        self.positions, self._start = start + local, start
        self.n_vocab = len(corpus.vocabulary)
        self.tokens, self.previous = tokens_at(corpus, self.positions)
        self.documents = np.unique(owners, return_inverse=True)[1]
        self.n_documents = int(self.documents.max()) + 1 if len(local) else 0
        self._n_before = np.cumsum(counted[start:stop], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.positions)

    def ranks_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ranks of the counted tokens at `positions`."""
        return self._n_before[positions - self._start].astype(np.int64) - 1

    @cached_property
    def per_document(self) -> NDArray[np.int64]:
        """`[n_documents]`, counted tokens of each document."""
        return np.bincount(self.documents, minlength=self.n_documents)


def drawn_shift(rng: np.random.Generator, n: int) -> int:
    """By how many of `n` tokens a column is moved for its null: a third to two thirds, so that it lies over other
    documents."""
    return int(rng.integers(n // 3, max(n // 3 + 1, 2 * n // 3)))


class Column(NamedTuple):
    """A latent on the counted tokens of one split: ranks at which it is active, ascending, and activations."""

    ranks: NDArray[np.int64]
    values: NDArray[np.float64]

    def sizes(self) -> "Column":
        """The same without signs."""
        return Column(self.ranks, np.abs(self.values))

    def shifted(self, by: int, n: int) -> "Column":
        """The same activations moved `by` of `n` tokens on, around the end: all of their own structure, none of the
        tokens'."""
        # What is moved over the end comes first: the order is known, and need not be found.
        over = int(np.searchsorted(self.ranks, n - by))
        ranks = np.concatenate([self.ranks[over:] + (by - n), self.ranks[:over] + by])
        return Column(ranks, np.concatenate([self.values[over:], self.values[:over]]))

    def silent(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ranks of the silent tokens that these numbers count: 0 is the first token that is not among `ranks`."""
        before = self.ranks - np.arange(len(self.ranks))
        return places + np.searchsorted(before, places, "right")
