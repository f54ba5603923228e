"""How often each key stands on active tokens and on called ones: what the search for a rule looks at."""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import Kind
from sparselex.explain.surroundings import Keys
from sparselex.features.counted import Column

MOST_LOOKED_AT = 4096
"""Tokens of a latent that are counted at a time; of more, this many, evenly spread, stand for all."""


LEAST_SEEN = 4
"""Training tokens that a key must have: what is seen less often is no evidence, and most pairs are."""


class Coding:
    """Keys of several kinds as numbers of one series, kind behind kind, the same in both splits: those that training
    tokens have. Behind the last comes one for whatever has no such key."""

    def __init__(self, train: KeyTable, validation: KeyTable, kinds: Sequence[Kind]):
        parts = [_often_seen(train, kind) for kind in kinds]
        sizes = [len(part) for part in parts]
        self.kinds, self.n = tuple(kinds), sum(sizes)
        self.begins = np.concatenate([[0], np.cumsum(sizes)])
        self.keys = np.concatenate([*parts, np.empty(0, dtype=np.int64)])
        self.kind_of = np.repeat(np.arange(len(kinds)), sizes)
        self.bits: Floats = np.log2(np.maximum(2, sizes))
        """Bits of an entry of each kind: which of the keys that training text has."""
        self.train, self.validation = Side(self, train), Side(self, validation)

    def numbers(self, place: int, keys: Keys) -> NDArray[np.int32]:
        """The numbers of keys of the kind at this place."""
        begin, end = self.begins[place : place + 2]
        known = self.keys[begin:end]
        there = np.searchsorted(known, keys)
        same = np.append(known, -1)[there] == keys
        return np.where(same & (keys >= 0), begin + there, self.n).astype(np.int32)


def _often_seen(table: KeyTable, kind: Kind) -> Keys:
    distinct, n_of = table.coded(kind).distinct, np.diff(table.by_key(kind).ends)
    return distinct[(n_of >= LEAST_SEEN) & (distinct >= 0)]


class Side:
    """The tokens of one split, in the numbers of a coding."""

    codes: NDArray[np.int32]
    """`[n_tokens, n_kinds]`, numbers of the keys of every token."""

    n_of: Floats
    """`[n_codes]`, tokens with each key."""

    def __init__(self, coding: Coding, table: KeyTable):
        self.table, self.n_codes = table, coding.n
        self.codes = np.empty((table.n, len(coding.kinds)), dtype=np.int32)
        n_of = np.zeros(coding.n + 1)
        for place, kind in enumerate(coding.kinds):
            distinct, codes = table.coded(kind)
            numbers = coding.numbers(place, distinct)
            self.codes[:, place] = numbers[codes]
            n_of[numbers] = np.diff(table.by_key(kind).ends)
        self.n_of = n_of[: coding.n]


class Counts:
    """How many of some tokens have each key. Of many tokens some are looked at, and stand for all; and nothing is
    counted before it is asked for."""

    def __init__(self, side: Side):
        self._side, self._lots = side, list[_Lot]()

    def add(self, ranks: Keys, sign: int = 1) -> None:
        """Tokens that are counted as well, or with a `sign` of -1 no longer."""
        looked_at = ranks[:: -(-len(ranks) // MOST_LOOKED_AT) or 1]
        self._lots.append(_Lot(self._side, looked_at, sign * (len(ranks) / max(1, len(looked_at)))))

    def of(self, codes: Keys) -> Floats:
        """Tokens with each of these keys."""
        found = np.zeros(codes.shape)
        for lot in self._lots:
            found += lot.counts[codes] * lot.stands_for
        return found

    def keys(self) -> Keys:
        """The keys that any token has, ascending."""
        return np.flatnonzero(reduce(np.add, [lot.counts for lot in self._lots]) > 0)


class _Lot:
    """Tokens that are counted together, each of which `stands_for` several."""

    def __init__(self, side: Side, ranks: Keys, stands_for: float):
        self._side, self._ranks, self.stands_for = side, ranks, stands_for

    @cached_property
    def counts(self) -> Keys:
        """`[n_codes]`, how many of them have each key."""
        codes, n = self._side.codes.take(self._ranks, axis=0), self._side.n_codes
        return np.bincount(codes.reshape(-1), minlength=n + 1)[:n]


class Totals(NamedTuple):
    """Tokens of a split by what a rule says of them."""

    hits: int
    called: int
    active: int

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, self.called + self.active)


class State:
    """A latent in one split, and what a rule under way calls active there."""

    active: Counts
    """Active tokens by key."""

    hits: Counts
    """Those of them that are called."""

    misses: Counts
    """Silent tokens that are called."""

    def __init__(self, side: Side, column: Column):
        self.side, self.totals = side, Totals(0, 0, len(column.ranks))
        self._active, self._called = (np.zeros(side.table.n, dtype=bool) for _ in range(2))
        self._active[column.ranks] = True
        self.active, self.hits, self.misses = (Counts(side) for _ in range(3))
        self.active.add(column.ranks)

    @cached_property
    def keys(self) -> Keys:
        """The keys that active tokens have, ascending."""
        return self.active.keys()

    def turn(self, ranks: Keys, to: bool) -> None:
        """Call these tokens active from now on, or silent."""
        ranks = ranks[self._called[ranks] != to]
        self._called[ranks] = to
        active, sign = self._active[ranks], 1 if to else -1
        hits, misses = ranks[active], ranks[~active]
        now = self.totals
        self.totals = Totals(now.hits + sign * len(hits), now.called + sign * len(ranks), now.active)
        self.hits.add(hits, sign)
        self.misses.add(misses, sign)

    def open(self, codes: Keys) -> tuple[Floats, Floats]:
        """Active tokens and all with each of these keys that are not called."""
        hits = self.hits.of(codes)
        # Where some tokens stand for all, two estimates may differ by more than is there.
        active = np.maximum(0, self.active.of(codes) - hits)
        return active, np.maximum(active, self.side.n_of[codes] - hits - self.misses.of(codes))

    def called(self, codes: Keys) -> tuple[Floats, Floats]:
        """Active tokens and all with each of these keys that are called."""
        # As above: what was called and is so no longer may be estimated higher than it was.
        hits = np.maximum(0, self.hits.of(codes))
        return hits, hits + np.maximum(0, self.misses.of(codes))
