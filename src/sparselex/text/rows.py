"""Rows of tokens: what every later stage reads, whether documents are packed into them or each holds one prompt.

A *position* is `row * n_ctx + column`: every example anywhere is one.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparselex.base.vocabulary import Vocabulary
from sparselex.text.splits import Split


@runtime_checkable
class TokenRows(Protocol):
    """Rows of equal length, those of a split together; a row belongs to one split."""

    id: str
    """Hash of the rows: artifacts read from them name it."""

    tokens: NDArray[Any]
    """`[n_rows, n_ctx]` token ids."""

    documents: NDArray[Any]
    """`[n_rows, n_ctx]` number of the document that each token is of; -1 where it is no text (BOS, separator,
    padding)."""

    n_rows: int
    """Number of rows."""

    n_ctx: int
    """Tokens in a row."""

    row_ranges: dict[Split, range]
    """Rows of each split."""

    n_padding: dict[Split, int]
    """Padding in the rows of each split; it stands last in its row, so that nothing reads it."""

    bos_id: int | None
    """Token with which every row begins; None where rows begin with text."""

    vocabulary: Vocabulary
    """The bytes of every token."""

    @property
    def names(self) -> list[str]:
        """Name of every document, by number."""
        ...

    def text_mask(self, rows: slice | range | NDArray[np.int64]) -> NDArray[np.bool_]:
        """`[n_rows, n_ctx]`, True where a token of a document stands."""
        ...

    def roles(self, row: int) -> dict[str, range]:
        """Named parts of the prompt in a row, as ranges of columns; empty where rows have none."""
        ...


def positions_in(rows: NDArray[np.int64], n_ctx: int) -> NDArray[np.int64]:
    """`[n_rows * n_ctx]`, all positions of `rows`, in the order given."""
    return (rows[:, None] * n_ctx + np.arange(n_ctx)).reshape(-1)


def tokens_at(corpus: TokenRows, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`[n]` ids of the tokens at some positions, and of those before them in their rows; before the first of a row
    stands the number of tokens there are, which is no token's."""
    tokens = corpus.tokens.reshape(-1)
    before = np.where(positions % corpus.n_ctx > 0, tokens[np.maximum(positions, 1) - 1], len(corpus.vocabulary))
    return tokens[positions].astype(np.int64), before.astype(np.int64)


def split_positions(corpus: TokenRows, split: Split) -> range:
    """All positions of a split."""
    rows = corpus.row_ranges[split]
    return range(rows.start * corpus.n_ctx, rows.stop * corpus.n_ctx)
