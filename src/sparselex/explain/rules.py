"""Rules: an explanation whose text and predictor are the same object.

A rule is a short table from a key to the activation expected there, and tables of exceptions that are looked at before
it: a decision list. What keys there are is said in `kinds`. Whatever the text says is all that the predictor knows.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.explain.kinds import KINDS, RECENT, Kind, Naming
from sparselex.explain.surroundings import Keys, Surroundings
from sparselex.features.printing import TokenPrinter

DEPTH = 3
"""Tables that a rule may have."""


class Clause(NamedTuple):
    """`table[key]` is the activation predicted at tokens with that key, 0 where the latent is silent on them. The
    first of several entries that hold counts; they go by falling prediction."""

    kind: Kind
    table: dict[int, float]

    def predict(self, around: Surroundings) -> Floats:
        """Predicted activation of each token, NaN where the table has no entry."""
        keys = KINDS[self.kind].keys(around)
        place = self._places(keys) if self.kind != RECENT else self._places(keys).min(1, initial=len(self.table))
        return np.array([*self.table.values(), np.nan])[place]

    def text(self, names: Naming) -> str:
        """The whole table in words, each entry with its predicted activation."""
        values = set(self.table.values())
        if values == {0.0}:
            return f"silent {self._said(names, len(self.table))}"
        parts = [f"{self._words(key, names)} ({value:g})" for key, value in self.table.items()]
        return f"active {KINDS[self.kind].lead} {', '.join(parts)}"

    def title(self, names: Naming, n: int) -> str:
        """The strongest `n` entries, without numbers."""
        rest = len(self.table) - n
        return f"active {self._said(names, n)}" + (f" and {rest} more" if rest > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Kind and table as JSON values."""
        return {"kind": self.kind, "table": [[key, value] for key, value in self.table.items()]}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Clause":
        """The table of what `to_json` gave."""
        return cls(values["kind"], dict(values["table"]))

    def _said(self, names: Naming, n: int) -> str:
        return f"{KINDS[self.kind].lead} {', '.join(self._words(key, names) for key in list(self.table)[:n])}"

    def _words(self, key: int, names: Naming) -> str:
        return KINDS[self.kind].words(key, names)

    def _places(self, keys: Keys) -> NDArray[np.int64]:
        """Number of the entry of each key; the number of entries for a key that has none."""
        known = np.fromiter(self.table, dtype=np.int64, count=len(self.table))
        order = np.argsort(known)
        place = np.searchsorted(known[order], keys).clip(max=len(known) - 1)
        return np.where(known[order][place] == keys, order[place], len(known))


class Rule(NamedTuple):
    """`table[key]` is the activation predicted at tokens with that key of this kind, unless a table of `first` has an
    entry for them; elsewhere 0."""

    kind: Kind
    table: dict[int, float]

    first: tuple[Clause, ...] = ()
    """Tables that are looked at before, in this order."""

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """All tables, the first that has an entry for a token deciding."""
        return (*self.first, Clause(self.kind, self.table))

    @property
    def predictions(self) -> Floats:
        """Every activation that is predicted somewhere, entry by entry."""
        return np.array(list(chain.from_iterable(clause.table.values() for clause in self.clauses)))

    def predict(self, around: Surroundings) -> Floats:
        """Predicted activation of each token."""
        found = np.full(len(around.positions), np.nan)
        for clause in self.clauses:
            open_ = np.isnan(found)
            found[open_] = clause.predict(around)[open_]
        return np.nan_to_num(found)

    def text(self, printer: TokenPrinter, n_vocab: int) -> str:
        """The whole rule in words: each entry with its predicted activation."""
        said = "; else ".join(clause.text(Naming(printer, n_vocab)) for clause in self.clauses)
        return f"{said[0].upper()}{said[1:]}; silent elsewhere."

    def title(self, printer: TokenPrinter, n_vocab: int, n: int = 3) -> str:
        """The strongest `n` entries of the table that is looked at last, which the others correct, without numbers."""
        said = self.clauses[-1].title(Naming(printer, n_vocab), n)
        corrected = ", with corrections" if self.first else ""
        return f"{said[0].upper()}{said[1:]}{corrected}"

    def to_json(self) -> dict[str, Any]:
        """All tables as JSON values."""
        first = {"first": [clause.to_json() for clause in self.first]} if self.first else {}
        return Clause(self.kind, self.table).to_json() | first

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Rule":
        """The rule of what `to_json` gave, or an earlier version, which had no tables that come first."""
        return cls(*Clause.of(values), tuple(map(Clause.of, values.get("first", ()))))


def rule_of(predictor: Mapping[str, Any] | None) -> Rule | None:
    """The rule that an explanation's predictor is, or None where it is something else."""
    return Rule.of(predictor) if predictor is not None and {"kind", "table"} <= predictor.keys() else None
