"""Rows of many documents rather than much of a few."""

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.live import spread


def even_rows(documents: NDArray[np.int32], rows: range, n_rows: int) -> NDArray[np.int64]:
    """At most `n_rows` of `rows`, ascending, where `documents` `[n, n_ctx]` says whose each token is.

    No document gives more than one of them, or twice an even share of those that are left: what a single long one is
    like would else be the figure, and documents are what figures are uncertain over.
    """
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    numbers = np.array(rows, dtype=np.int64)
    owners = np.array([_owner(documents[row]) for row in rows])
    most = _most_each(np.unique(owners, return_counts=True)[1], _n_documents(documents[numbers]), n_rows)
    kept = [own[spread(range(len(own)), most)] for owner in np.unique(owners) if len(own := numbers[owners == owner])]
    found = np.sort(np.concatenate(kept))
    return found[spread(range(len(found)), n_rows)]


def _most_each(counts: NDArray[np.int64], n_documents: int, n_rows: int) -> int:
    """Rows that each document gives at most, where `counts` are those that each has: twice an even share of what is
    left when longer ones are cut to that."""
    most = int(counts.max())
    while (share := max(1, 2 * min(n_rows, int(counts.clip(max=most).sum())) // n_documents)) < most:
        most = share
    return most


def _n_documents(documents: NDArray[np.int32]) -> int:
    """How many documents there is text of, those too that have no row for the most part to themselves."""
    return max(1, len(np.unique(documents[documents >= 0])))


def _owner(documents: NDArray[np.int32]) -> int:
    """The document with most of a row's tokens; -1 where it has none."""
    text = documents[documents >= 0]
    return int(np.bincount(text).argmax()) if len(text) else -1
