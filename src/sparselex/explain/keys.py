"""The counted tokens of one split, sorted by key: what a rule's predictor looks at."""

from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from sparselex.features.counted import CountedTokens

Kind = Literal["token", "previous", "pair"]
"""What a key is made of: the token itself, the token before it, or both."""

KINDS: tuple[Kind, ...] = get_args(Kind)


def keys_of(tokens: NDArray[np.int64], previous: NDArray[np.int64], n_vocab: int) -> dict[Kind, NDArray[np.int64]]:
    """The keys `[n]` of tokens behind `previous` ones, of every kind."""
    return {"token": tokens, "previous": previous, "pair": previous * n_vocab + tokens}


class Coded(NamedTuple):
    """The keys of one kind, numbered in ascending order."""

    distinct: NDArray[np.int64]
    """`[n_keys]`, those that there are, ascending."""

    n_of: NDArray[np.int64]
    """`[n_keys]`, tokens with each."""

    codes: NDArray[np.int32]
    """`[n]`, the number of each token's key."""


class KeyTable:
    """The keys of all counted tokens of a split. The first token of a row, where there is no BOS, has `n_vocab` before
    it, as if the start of a row were one more token."""

    def __init__(self, counted: CountedTokens):
        self.counted = counted
        self.n, self.n_vocab = len(counted), counted.n_vocab
        self.document, self.n_documents = counted.documents, counted.n_documents
        self.keys = keys_of(counted.tokens, counted.previous, counted.n_vocab)

    @cached_property
    def coded(self) -> dict[Kind, Coded]:
        """For each kind: the keys by number. Looking a number up is far quicker than looking for a key."""
        found = {}
        for kind in KINDS:
            distinct, codes, n_of = np.unique(self.keys[kind], return_inverse=True, return_counts=True)
            found[kind] = Coded(distinct, n_of, codes.astype(np.int32))
        return found

    def counts(self, kind: Kind, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many counted tokens have each key."""
        coded = self.coded[kind]
        return np.where(self._has(kind, keys), coded.n_of[self._numbers(kind, keys)], 0) if self.n else 0 * keys

    def n_active(self, kind: Kind, keys: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the tokens at `ranks` have each key."""
        active = np.sort(self.coded[kind].codes[ranks])
        if not len(active):
            return 0 * keys
        numbers = self._numbers(kind, keys)
        n = np.searchsorted(active, numbers, "right") - np.searchsorted(active, numbers, "left")
        return np.where(self._has(kind, keys), n, 0)

    def ranks(self, kind: Kind, key: int) -> NDArray[np.int64]:
        """Ranks of the tokens with this key, ascending."""
        order, ends = self._by_key[kind]
        number = int(np.searchsorted(self.coded[kind].distinct, key))
        if number == len(ends) or self.coded[kind].distinct[number] != key:
            return np.empty(0, dtype=np.int64)
        return order[ends[number] - self.coded[kind].n_of[number] : ends[number]]

    @cached_property
    def _by_key(self) -> dict[Kind, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each kind: ranks by key, and where those of each key end."""
        return {
            kind: (np.argsort(coded.codes, kind="stable"), coded.n_of.cumsum()) for kind, coded in self.coded.items()
        }

    def _numbers(self, kind: Kind, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of keys; any number for one that is not there."""
        distinct = self.coded[kind].distinct
        return np.searchsorted(distinct, keys).clip(max=len(distinct) - 1)

    def _has(self, kind: Kind, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.coded[kind].distinct[self._numbers(kind, keys)] == keys
