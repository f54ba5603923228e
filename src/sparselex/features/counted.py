"""The counted tokens of one split, sorted by key: what a rule's predictor looks at."""

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparselex.features.index import FeatureIndex
from sparselex.text.splits import Split

Kind = Literal["token", "previous", "pair"]
"""What a key is made of: the token itself, the token before it, or both."""

KINDS: tuple[Kind, ...] = ("token", "previous", "pair")


class KeyTable:
    """Keys and documents of all counted tokens of a split. A *rank* numbers these tokens in corpus order."""

    def __init__(self, index: FeatureIndex, split: Split):
        corpus, rows = index.corpus, index.corpus.row_ranges[split]
        self.n_vocab = len(corpus.vocabulary)
        start, stop = rows.start * corpus.n_ctx, rows.stop * corpus.n_ctx
        self.positions: NDArray[np.int64] = start + np.flatnonzero(index.counted[start:stop])
        self.n = len(self.positions)
        tokens = np.asarray(corpus.tokens[rows.start : rows.stop]).reshape(-1).astype(np.int64)
        local = self.positions - start
        token = tokens[local]
        # The first token of a row has none before it; without a BOS it counts as its own predecessor's absence: key 0's
        # row.
        previous = np.where(local % corpus.n_ctx > 0, tokens[local - 1], 0)
        self.keys: dict[Kind, NDArray[np.int64]] = {
            "token": token,
            "previous": previous,
            "pair": previous * self.n_vocab + token,
        }
        owners = np.asarray(corpus.documents[rows.start : rows.stop]).reshape(-1)[local]
        self.document: NDArray[np.int64] = np.unique(owners, return_inverse=True)[1]
        self.n_documents = int(self.document.max()) + 1 if self.n else 0

    @cached_property
    def sorted(self) -> dict[Kind, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each kind: the keys in ascending order, and the rank of each."""
        orders = {kind: np.argsort(self.keys[kind], kind="stable") for kind in KINDS}
        return {kind: (self.keys[kind][order], order) for kind, order in orders.items()}

    @cached_property
    def per_document(self) -> NDArray[np.int64]:
        """Counted tokens of each document."""
        return np.bincount(self.document, minlength=self.n_documents)

    def counts(self, kind: Kind, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many counted tokens have each key."""
        ordered = self.sorted[kind][0]
        return np.searchsorted(ordered, keys, "right") - np.searchsorted(ordered, keys, "left")

    def ranks(self, kind: Kind, key: int) -> NDArray[np.int64]:
        """Ranks of the tokens with this key."""
        ordered, order = self.sorted[kind]
        return order[slice(*np.searchsorted(ordered, [key, key + 1]))]
