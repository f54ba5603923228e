"""Which keys are most worth naming, of every kind at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.explain.counting import Coding, State, Totals
from sparselex.explain.surroundings import Keys

MOST_KEYS = 32
"""Entries that a table may have; longer ones are no explanation."""

BITS_COST = 1e-4
"""F1 given up per bit of rule. A table costs the choice of its kind and of what it does (`table_bits`), each entry the
choice among the keys that training text has: log2 of their number, 12 bits for a token of 4,096, so that 32 of them
cost 0.04."""

LEAST_LIFT = 2.0
"""How much more often than on all tokens a latent must be active on those of a key for a rule to name it. Broad keys
(a shape, a place in the row) would else make a rule of nothing: calling a tenth of the text scores above 0."""


def table_bits(n_kinds: int) -> Floats:
    """`[n_kinds]`, bits of a table but for its entries: whether it adds or takes away, and its kind, by the place of
    that in the list. As in Elias' gamma code the first is cheapest: of rules that do the same, the plainer is taken."""
    return np.asarray(2 + 2 * np.log2(np.arange(1, n_kinds + 1)))


class Counted(NamedTuple):
    """Keys, and on how many tokens of those in question they stand."""

    codes: Keys
    active: Floats
    every: Floats


class Ranked(NamedTuple):
    """The keys most worth naming of each kind that has any, best first."""

    kinds: Keys
    """`[n]`, which kinds these are."""

    table: Keys
    """`[n, MOST_KEYS]`, their codes, with any behind the last."""

    sizes: NDArray[np.int64]
    """`[n]`, how many keys give the best F1 on training tokens."""

    there: NDArray[np.bool_]
    """`[n, MOST_KEYS]`, whether there is a key."""

    def sums(self, state: State, adds: bool) -> tuple[Floats, Floats]:
        """`[n, MOST_KEYS]` each, hits and called tokens that are won, or less than 0, by the first 1, 2, 3 … keys."""
        active, every = state.open(self.table) if adds else state.called(self.table)
        return _won(active * self.there, every * self.there, adds)


def adding(state: State, coding: Coding) -> Ranked:
    """Keys by how often the latent is active on them, where nothing is called yet."""
    now = state.totals
    base = now.active / max(1, state.side.table.n)
    # A key wins at most this: one that cannot pay for its bits is not looked at.
    dearest = BITS_COST * coding.bits * (now.called + now.active) / 2
    codes = state.keys[state.active.of(state.keys) > dearest.min()]
    active, every = state.open(codes)
    kept = (active > dearest[coding.kind_of[codes]]) & (active >= LEAST_LIFT * base * every)
    found = Counted(codes[kept], active[kept], every[kept])
    # A key seen once and active once is no evidence of a share of 1: one more token is imagined, at the latent's base
    # rate.
    share = (found.active + base) / (found.every + 1)
    return _ranked(now, coding, found, found.active * share, share, adds=True)


def taking(state: State, coding: Coding) -> Ranked:
    """Keys by how seldom the latent is active on them, where tokens are called."""
    now = state.totals
    dearest = BITS_COST * coding.bits * (now.called + now.active) / 2
    codes = state.misses.keys()
    codes = codes[state.misses.of(codes) > dearest.min()]
    active, every = state.called(codes)
    won = every * now.f1 / 2 - active
    kept = won > dearest[coding.kind_of[codes]]
    found = Counted(codes[kept], active[kept], every[kept])
    return _ranked(now, coding, found, won[kept], (found.every - found.active) / (found.every + 1), adds=False)


def _ranked(now: Totals, coding: Coding, keys: Counted, worth: Floats, share: Floats, *, adds: bool) -> Ranked:
    """Of each kind the keys that matter most, by `worth`, in the order of `share`."""
    kind_of = coding.kind_of[keys.codes]
    order, place = _within(kind_of, worth)
    chosen = order[place < MOST_KEYS]
    order, place = _within(kind_of[chosen], share[chosen])
    chosen = chosen[order]
    kinds, row = np.unique(kind_of[chosen], return_inverse=True)
    table = np.full((len(kinds), MOST_KEYS), -1)
    table[row, place] = chosen
    there = table >= 0
    codes, active, every = (np.where(there, part[table], 0) for part in keys)
    f1 = f1_with(now, *_won(active, every, adds))
    return Ranked(kinds, codes, np.where(there, f1, -1).argmax(1) + 1, there)


def _won(active: Floats, every: Floats, adds: bool) -> tuple[Floats, Floats]:
    """Hits and called tokens that are won by the first 1, 2, 3 … keys of each row."""
    active, every = active.cumsum(1), every.cumsum(1)
    return (active, every) if adds else (-active, -every)


def _within(groups: Keys, worth: Floats) -> tuple[Keys, Keys]:
    """The order by group and falling worth, and the place of each, so ordered, within its group. Groups ascend."""
    return np.lexsort((-worth, groups)), np.arange(len(groups)) - np.searchsorted(groups, groups)


def f1_with(now: Totals, hits: Floats, called: Floats) -> Floats:
    """F1 with so many more hits and called tokens."""
    return np.asarray(2 * (now.hits + hits) / np.maximum(1, now.called + called + now.active))
