"""The counted tokens of one split, sorted by key: what a rule's predictor looks at."""

from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sparselex.features.counted import CountedTokens

Kind = Literal["token", "previous", "pair"]
"""What a key is made of: the token itself, the token before it, or both."""

KINDS: tuple[Kind, ...] = get_args(Kind)


def keys_of(tokens: NDArray[np.int64], previous: NDArray[np.int64], n_vocab: int) -> dict[Kind, NDArray[np.int64]]:
    """The keys `[n]` of tokens behind `previous` ones, of every kind."""
    return {"token": tokens, "previous": previous, "pair": previous * n_vocab + tokens}


class KeyTable:
    """The keys of all counted tokens of a split. The first token of a row, where there is no BOS, has `n_vocab` before
    it, as if the start of a row were one more token."""

    def __init__(self, counted: CountedTokens):
        self.counted = counted
        self.n, self.n_vocab = len(counted), counted.n_vocab
        self.document, self.n_documents = counted.documents, counted.n_documents
        self.keys = keys_of(counted.tokens, counted.previous, counted.n_vocab)

    @cached_property
    def sorted(self) -> dict[Kind, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each kind: the keys in ascending order, and the rank of each."""
        orders = {kind: np.argsort(self.keys[kind], kind="stable") for kind in KINDS}
        return {kind: (self.keys[kind][order], order) for kind, order in orders.items()}

    def counts(self, kind: Kind, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many counted tokens have each key."""
        ordered = self.sorted[kind][0]
        return np.searchsorted(ordered, keys, "right") - np.searchsorted(ordered, keys, "left")

    def ranks(self, kind: Kind, key: int) -> NDArray[np.int64]:
        """Ranks of the tokens with this key."""
        ordered, order = self.sorted[kind]
        return order[slice(*np.searchsorted(ordered, [key, key + 1]))]
