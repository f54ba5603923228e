"""What explanations say of tokens: the activations that their predictors expect there."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.kinds import KINDS, Kind
from sparselex.explain.records import Explanation
from sparselex.explain.rules import rule_of
from sparselex.explain.surroundings import Surroundings


class Predicted(NamedTuple):
    """Predicted activations of some tokens, by token and then by latent."""

    rows: NDArray[np.int64]
    """Number of the token, ascending."""

    latents: NDArray[np.int64]

    values: NDArray[np.float64]


class Predictions:
    """Everything that explanations with a rule predict, looked up token by token; the others predict nothing."""

    def __init__(self, explanations: Iterable[Explanation]):
        rules = {e.latent: rule for e in explanations if (rule := rule_of(e.predictor))}
        self.n_latents = len(rules)
        entries: dict[Kind, list[_Entry]] = {}
        for latent, rule in rules.items():
            said = [(clause.kind, *entry) for clause in rule.clauses for entry in clause.table.items()]
            for place, (kind, key, value) in enumerate(said):
                entries.setdefault(kind, []).append(_Entry(key, latent, place, value))
        self._entries = {kind: _Entries(part) for kind, part in entries.items()}

    def on(self, around: Surroundings) -> Predicted:
        """What is predicted of tokens by what stands around them."""
        parts = [entries.on(KINDS[kind].keys(around)) for kind, entries in self._entries.items()]
        if not parts:
            none = np.empty(0, dtype=np.int64)
            return Predicted(none, none, np.empty(0))
        rows, latents, places, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.lexsort((places, latents, rows))
        rows, latents, values = rows[order], latents[order], values[order]
        # Of the entries of a rule that hold for a token the first decides, be it that the latent is silent.
        decides = np.ones(len(rows), dtype=bool)
        decides[1:] = (rows[1:] != rows[:-1]) | (latents[1:] != latents[:-1])
        decides &= values > 0
        return Predicted(rows[decides], latents[decides], values[decides])


class _Entry(NamedTuple):
    """One entry of a latent's rule, by its place among all of that rule."""

    key: int
    latent: int
    place: int
    value: float


class _Found(NamedTuple):
    """Entries that hold for tokens."""

    rows: NDArray[np.int64]
    latents: NDArray[np.int64]
    places: NDArray[np.int64]
    values: NDArray[np.float64]


class _Entries:
    """The entries of one kind, by key."""

    def __init__(self, entries: Sequence[_Entry]):
        self._keys, latents, places, values = (np.array(column) for column in zip(*sorted(entries), strict=True))
        self._said = latents, places, values

    def on(self, keys: NDArray[np.int64]) -> _Found:
        """The entries that hold for tokens with these keys, `[n]`, or `[n, several]`."""
        first = np.searchsorted(self._keys, keys.reshape(-1))
        counts = np.searchsorted(self._keys, keys.reshape(-1), "right") - first
        # Entry i of a token's run stands at `first + i`.
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        places = np.repeat(first, counts) + within
        rows = np.repeat(np.arange(keys.size) // (keys.size // max(1, len(keys)) or 1), counts)
        return _Found(rows, *(column[places] for column in self._said))
