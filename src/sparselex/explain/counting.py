"""How often each key stands on active tokens and on called ones: what the search for a rule looks at."""

from collections.abc import Sequence
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

    def coded(self, table: KeyTable) -> NDArray[np.int32]:
        """`[n_tokens, n_kinds]`, numbers of the keys of every token."""
        found = np.empty((table.n, len(self.kinds)), dtype=np.int32)
        for place, kind in enumerate(self.kinds):
            distinct, codes = table.coded(kind)
            found[:, place] = self._numbers(place, distinct)[codes]
        return found

    def _numbers(self, place: int, keys: Keys) -> Keys:
        begin, end = self.begins[place : place + 2]
        known = self.keys[begin:end]
        there = np.searchsorted(known, keys)
        same = np.append(known, -1)[there] == keys
        return np.where(same & (keys >= 0), begin + there, self.n)


def _often_seen(table: KeyTable, kind: Kind) -> Keys:
    distinct, codes = table.coded(kind)
    return distinct[(np.bincount(codes, minlength=len(distinct)) >= LEAST_SEEN) & (distinct >= 0)]


class Side:
    """The tokens of one split, in the numbers of a coding."""

    def __init__(self, coding: Coding, table: KeyTable):
        self.table, self.n_codes = table, coding.n
        self.codes = coding.coded(table)
        self.n_of = np.bincount(self.codes.reshape(-1), minlength=coding.n + 1)[: coding.n].astype(np.float64)

    def counted(self, ranks: Keys) -> Floats:
        """`[n_codes]`, how many of the tokens at `ranks` have each key."""
        step = -(-len(ranks) // MOST_LOOKED_AT) or 1
        codes = self.codes[ranks[::step]].reshape(-1)
        found = np.bincount(codes, minlength=self.n_codes + 1)[: self.n_codes]
        return np.asarray(found * (len(ranks) / max(1, len(ranks[::step]))))


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

    active: Floats
    """`[n_codes]`, active tokens by key."""

    hits: Floats
    """Those of them that are called."""

    misses: Floats
    """Silent tokens that are called."""

    def __init__(self, side: Side, column: Column):
        self.side, self.totals = side, Totals(0, 0, len(column.ranks))
        self._active, self._called = (np.zeros(side.table.n, dtype=bool) for _ in range(2))
        self._active[column.ranks] = True
        self.active = side.counted(column.ranks)
        self.hits = self.misses = np.zeros(side.n_codes)

    def turn(self, ranks: Keys, to: bool) -> None:
        """Call these tokens active from now on, or silent."""
        ranks = ranks[self._called[ranks] != to]
        self._called[ranks] = to
        active, sign = self._active[ranks], 1 if to else -1
        hits, misses = ranks[active], ranks[~active]
        now = self.totals
        self.totals = Totals(now.hits + sign * len(hits), now.called + sign * len(ranks), now.active)
        self.hits = self.hits + sign * self.side.counted(hits)
        self.misses = self.misses + sign * self.side.counted(misses)

    def open(self, codes: Keys) -> tuple[Floats, Floats]:
        """Active tokens and all with each of these keys that are not called."""
        # Where some tokens stand for all, two estimates may differ by more than is there.
        active = np.maximum(0, self.active[codes] - self.hits[codes])
        return active, np.maximum(active, self.side.n_of[codes] - self.hits[codes] - self.misses[codes])

    def called(self, codes: Keys) -> tuple[Floats, Floats]:
        """Active tokens and all with each of these keys that are called."""
        return self.hits[codes], self.hits[codes] + self.misses[codes]
