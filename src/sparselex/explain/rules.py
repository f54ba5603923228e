"""Rules: an explanation whose text and predictor are the same object.

A rule is a short table from a key to the activation expected there. The key of a token is the token itself, the token
before it, or both. Whatever the text says is all that the predictor knows.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.keys import Kind
from sparselex.features.printing import TokenPrinter

_LEADS: dict[Kind, str] = {"token": "Active on", "previous": "Active after", "pair": "Active on"}


class Rule(NamedTuple):
    """`table[key]` is the activation predicted at tokens with that key; elsewhere 0. Entries by falling prediction.

    The key of a pair is `previous * n_vocab + token`; `n_vocab` as the previous one is the start of a row.
    """

    kind: Kind
    table: dict[int, float]

    @property
    def keys(self) -> NDArray[np.int64]:
        """The keys, in the order of the table."""
        return np.fromiter(self.table, dtype=np.int64, count=len(self.table))

    @property
    def predictions(self) -> NDArray[np.float64]:
        """The prediction of each key."""
        return np.fromiter(self.table.values(), dtype=np.float64, count=len(self.table))

    def predict(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted activation of tokens with these keys."""
        known, order = self.keys, np.argsort(self.keys)
        place = np.searchsorted(known[order], keys).clip(max=len(known) - 1)
        found = known[order][place] == keys
        return np.where(found, self.predictions[order][place], 0.0)

    def text(self, printer: TokenPrinter, n_vocab: int) -> str:
        """The whole rule in words: each entry with its predicted activation."""
        parts = [f"{self._words(key, printer, n_vocab)} ({value:g})" for key, value in self.table.items()]
        return f"{_LEADS[self.kind]} {', '.join(parts)}; silent elsewhere."

    def title(self, printer: TokenPrinter, n_vocab: int, n: int = 3) -> str:
        """The strongest `n` entries, without numbers."""
        parts = [self._words(key, printer, n_vocab) for key in list(self.table)[:n]]
        rest = len(self.table) - n
        return f"{_LEADS[self.kind]} {', '.join(parts)}" + (f" and {rest} more" if rest > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Kind and table as JSON values."""
        return {"kind": self.kind, "table": [[key, value] for key, value in self.table.items()]}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Rule":
        """The rule of what `to_json` gave."""
        return cls(values["kind"], dict(values["table"]))

    def _words(self, key: int, printer: TokenPrinter, n_vocab: int) -> str:
        match self.kind:
            case "token":
                return printer.quoted(key)
            case "previous":
                return _before(key, printer, n_vocab)
            case "pair":
                return f"{printer.quoted(key % n_vocab)} after {_before(key // n_vocab, printer, n_vocab)}"


def _before(token: int, printer: TokenPrinter, n_vocab: int) -> str:
    return "the start of a row" if token == n_vocab else printer.quoted(token)


def rule_of(predictor: Mapping[str, Any] | None) -> Rule | None:
    """The rule that an explanation's predictor is, or None where it is something else."""
    return Rule.of(predictor) if predictor is not None and {"kind", "table"} <= predictor.keys() else None
