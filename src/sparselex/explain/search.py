"""The search for a rule: fit on training tokens, choose on validation tokens. Arrays in, rule out.

A rule is made in steps. The first names keys of one kind on which the latent is active; each of the next puts a table
in front, which adds tokens or takes some away. At each step every kind is tried both ways: on training tokens its keys
are ranked, and on validation tokens it is seen how many of them are worth their bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparselex.base.intervals import Floats
from sparselex.explain.counting import Coding, State
from sparselex.explain.keys import KeyTable, Ranks, joined
from sparselex.explain.kinds import KINDS, RECENT, Kind
from sparselex.explain.measures import Confusion, confusion
from sparselex.explain.ranking import BITS_COST, Ranked, adding, f1_with, table_bits, taking
from sparselex.explain.recent import RecentSearch
from sparselex.explain.rules import DEPTH, Clause, Rule
from sparselex.explain.surroundings import Keys
from sparselex.features.counted import Column


class Chosen(NamedTuple):
    """The rule that did best on the validation tokens, how it did, and its length."""

    rule: Rule
    confusion: Confusion
    bits: float


def beats(found: Chosen | None, null: Chosen | None) -> bool:
    """Whether a rule is better beyond doubt, on the validation tokens, than the best one for activations moved
    elsewhere."""
    return found is not None and found.confusion.f1_low > (null.confusion.f1 if null else 0.0)


class RuleSearch:
    """Looks for the rules of latents, one after another, in the same two splits.

    Args:
        train: tokens on which keys are found.
        validation: tokens on which rules are chosen.
        kinds: what keys may be.
        depth: tables that a rule may have.
    """

    def __init__(
        self, train: KeyTable, validation: KeyTable, kinds: Sequence[Kind] = tuple(KINDS), depth: int = DEPTH
    ) -> None:
        self.train, self.validation, self.depth = train, validation, depth
        self._coding = Coding(train, validation, [kind for kind in kinds if kind != RECENT])
        # The one kind of several keys comes last, wherever it was named.
        self._table_bits = table_bits(len(kinds) + 1)
        last = float(self._table_bits[len(self._coding.kinds)])
        self._recent = RecentSearch(train, validation, last) if RECENT in kinds else None

    def best(self, on_train: Column, on_validation: Column) -> Chosen | None:
        """The rule with the best F1 on validation tokens less a price for its length; None where nothing can be
        fitted. `on_train` and `on_validation` are where the latent is active."""
        states = State(self._coding.train, on_train), State(self._coding.validation, on_validation)
        clauses: list[Clause] = []
        bits, step = 0.0, self._first(*states, on_train, on_validation)
        while step:
            parts = self.train.parts(step.kind, step.keys)
            clauses.insert(0, _clause(step, parts, on_train))
            bits += step.bits
            if len(clauses) == self.depth:
                break
            _turn(states[0], step, parts)
            _turn(states[1], step, self.validation.parts(step.kind, step.keys))
            step = self._step(*states)
        if not clauses:
            return None
        rule = Rule(*clauses[-1], tuple(clauses[:-1]))
        return Chosen(rule, confusion(rule, self.validation, on_validation), bits)

    def _first(self, train: State, validation: State, on_train: Column, on_validation: Column) -> "_Step | None":
        """The table that is looked at last."""
        step = self._step(train, validation)
        if self._recent is None:
            return step
        most = step.worth if step else 0.0
        found = self._recent.best(on_train, on_validation, most)
        return _Step(RECENT, found.keys, True, found.bits, found.worth) if found else step

    def _step(self, train: State, validation: State) -> "_Step | None":
        """The table that is worth most in front of what there is; None where none is worth anything."""
        best, most = None, 0.0
        for adds in (True, False) if train.totals.called else (True,):
            ranked = (adding if adds else taking)(train, self._coding)
            if not len(ranked.kinds):
                continue
            worth = self._worth(ranked, validation, adds)
            place, size = np.unravel_index(worth.argmax(), worth.shape)
            if worth[place, size] > most:
                kind, most = ranked.kinds[place], float(worth[place, size])
                bits = self._table_bits[kind] + (size + 1) * self._coding.bits[kind]
                keys = self._coding.keys[ranked.table[place, : size + 1]]
                best = _Step(self._coding.kinds[kind], keys, adds, float(bits), most)
        return best

    def _worth(self, ranked: Ranked, validation: State, adds: bool) -> Floats:
        """`[n, MOST_KEYS]`, F1 that is won with the first 1, 2, 3 … keys of each kind, less what they cost."""
        now = validation.totals
        f1 = f1_with(now, *ranked.sums(validation, adds))
        size = np.arange(1, f1.shape[1] + 1)
        bits = self._table_bits[ranked.kinds][:, None] + size * self._coding.bits[ranked.kinds][:, None]
        return np.where(size <= ranked.sizes[:, None], f1 - now.f1 - BITS_COST * bits, -np.inf)


class _Step(NamedTuple):
    """A table that is put in front of a rule: `adds` tokens that are called active, or takes them away."""

    kind: Kind
    keys: Keys
    adds: bool
    bits: float
    worth: float


def _turn(state: State, step: _Step, parts: Sequence[Ranks]) -> None:
    """Take a step on the tokens of its keys."""
    ranks = joined(parts)
    if step.kind == RECENT:  # a token may be in several parts
        there = np.zeros(state.side.table.n, dtype=bool)
        there[ranks] = True
        ranks = np.flatnonzero(there)
    state.turn(ranks, step.adds)


def _clause(step: _Step, parts: Sequence[Ranks], column: Column) -> Clause:
    """The table of a step, of whose keys these are the training tokens. Its values are rounded as printed: the text and
    the predictor must not differ in a digit."""
    means = _means(parts, column) if step.adds else np.zeros(len(step.keys))
    entries = zip(step.keys.tolist(), (float(f"{mean:.4g}") for mean in means), strict=True)
    return Clause(step.kind, dict(sorted(entries, key=lambda entry: -entry[1])))


def _means(parts: Sequence[Ranks], column: Column) -> Floats:
    """The mean activation on the tokens of each part."""
    ranks, sizes = joined(parts), np.array([len(part) for part in parts])
    place = np.searchsorted(column.ranks, ranks)
    active = np.append(column.ranks, -1)[place] == ranks
    mass = np.bincount(np.repeat(np.arange(len(parts)), sizes)[active], column.values[place[active]], len(parts))
    return np.asarray(mass / sizes)
