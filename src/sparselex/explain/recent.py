"""Rules of tokens that stood a little before, for latents of a topic: a token may have several such keys."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import RECENT
from sparselex.explain.ranking import BITS_COST, LEAST_LIFT, MOST_KEYS
from sparselex.explain.surroundings import Keys
from sparselex.features.counted import Column

_LOOKED_AT = 1024
"""Active tokens on which keys are found, evenly spread: each has as many keys as a rule looks back."""

_PROMISING = 0.5
"""Share of the worth that has to be beaten which a set must reach by a glance to be looked at closely, which takes
milliseconds."""


class Found(NamedTuple):
    """A set of tokens, some of which stood a little before."""

    keys: Keys
    bits: float
    worth: float


class RecentSearch:
    """Looks for sets of tokens, some of which stand a little before those on which a latent is active."""

    def __init__(self, train: KeyTable, validation: KeyTable, table_bits: float):
        self.train, self.validation, self.n_vocab = train, validation, train.n_vocab
        self._table_bits = table_bits
        self._recent = train.around.recent
        self._n_of = self._counts(self._recent)
        self._bits = float(np.log2(max(2, int(np.count_nonzero(self._n_of)))))

    def best(self, on_train: Column, on_validation: Column, most: float) -> Found | None:
        """The set that is worth most on validation tokens; None where none is worth more than `most`."""
        keys = self._ranked(on_train, most)
        if not len(keys):
            return None
        bits = self._table_bits + self._bits * np.arange(1, len(keys) + 1)
        worth = self._f1(keys, on_validation) - BITS_COST * bits
        size = int(worth.argmax())
        return Found(keys[: size + 1], float(bits[size]), float(worth[size])) if worth[size] > most else None

    def _ranked(self, column: Column, most: float) -> Keys:
        """The tokens most worth naming, best first; none if they promise too little."""
        n_active = len(column.ranks)
        recent = self._recent[column.ranks[:: -(-n_active // _LOOKED_AT) or 1]]
        stands_for, base = n_active / max(1, len(recent)), n_active / max(1, self.train.n)
        active = self._counts(recent) * stands_for
        pays = active > BITS_COST * self._bits * n_active / 2
        keys = np.flatnonzero(pays & (active >= LEAST_LIFT * base * self._n_of))
        share = (active[keys] + base) / (self._n_of[keys] + 1)
        order = np.argsort(-active[keys] * share, kind="stable")[:MOST_KEYS]
        keys = keys[order[np.argsort(-share[order], kind="stable")]]
        place = np.full(self.n_vocab + 1, len(keys))
        place[keys] = np.arange(len(keys))
        hits = np.bincount(place[recent].min(1, initial=len(keys)), minlength=len(keys) + 1)[:-1].cumsum() * stands_for
        # Tokens behind two of them are counted twice here, so that this is too little, never too much.
        f1 = 2 * hits / (self._n_of[keys].cumsum() + n_active)
        return keys[: int(f1.argmax()) + 1] if len(f1) and f1.max() > _PROMISING * most else keys[:0]

    def _f1(self, keys: Keys, column: Column) -> Floats:
        """F1 on validation tokens with the first 1, 2, 3 … tokens."""
        table, n_called, n_hits = self.validation, [], []
        active, called = (np.zeros(table.n, dtype=bool) for _ in range(2))
        active[column.ranks] = True
        for ranks in table.parts(RECENT, keys):
            ranks = ranks[~called[ranks]]
            called[ranks] = True
            n_called.append(len(ranks))
            n_hits.append(int(active[ranks].sum()))
        return np.asarray(2 * np.cumsum(n_hits) / np.maximum(1, np.cumsum(n_called) + len(column.ranks)))

    def _counts(self, recent: NDArray[np.int32]) -> Floats:
        """`[n_vocab]`, how many rows have each token."""
        return np.bincount(recent.reshape(-1) + 1, minlength=self.n_vocab + 1)[1:].astype(np.float64)
