"""Which test rows are looked at: many documents rather than much of a few."""

import math

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.live import spread
from sparselex.text.rows import TokenRows


def rows_to_judge(corpus: TokenRows, n_rows: int) -> NDArray[np.int64]:
    """At most `n_rows` rows of the test split, ascending, spread over it and over its documents."""
    return even_rows(corpus.documents, corpus.row_ranges["test"], n_rows)


def even_rows(documents: NDArray[np.int32], rows: range, n_rows: int) -> NDArray[np.int64]:
    """At most `n_rows` of `rows`, ascending, where `documents` `[n, n_ctx]` says whose each token is.

    No document gives more than twice an even share of them: what a single long one is like would else be the figure,
    and documents are what figures are uncertain over.
    """
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    numbers = np.array(rows, dtype=np.int64)
    owners = np.array([_owner(documents[row]) for row in rows])
    most = math.ceil(2 * n_rows / len(np.unique(owners)))
    kept = [own[spread(range(len(own)), most)] for owner in np.unique(owners) if len(own := numbers[owners == owner])]
    found = np.sort(np.concatenate(kept))
    return found[spread(range(len(found)), n_rows)]


def _owner(documents: NDArray[np.int32]) -> int:
    """The document with most of a row's tokens; -1 where it has none."""
    text = documents[documents >= 0]
    return int(np.bincount(text).argmax()) if len(text) else -1
