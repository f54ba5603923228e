"""What explanations say of tokens: the activations that their predictors expect there."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.keys import KINDS, Kind, keys_of
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Rule, rule_of


class Predicted(NamedTuple):
    """Predicted activations of some tokens, by token and then by latent."""

    rows: NDArray[np.int64]
    """Number of the token, ascending."""

    latents: NDArray[np.int64]

    values: NDArray[np.float64]


class Predictions:
    """Everything that explanations with a rule predict, looked up token by token; the others predict nothing.

    A latent's rule has one kind of key, so that no two of its entries meet on a token.
    """

    def __init__(self, explanations: Iterable[Explanation]):
        rules = {e.latent: rule for e in explanations if (rule := rule_of(e.predictor))}
        self.n_latents = len(rules)
        of_kind = {kind: {latent: rule for latent, rule in rules.items() if rule.kind == kind} for kind in KINDS}
        self._entries: dict[Kind, _Entries] = {kind: _Entries(part) for kind, part in of_kind.items()}

    def on(self, tokens: NDArray[np.int64], previous: NDArray[np.int64], n_vocab: int) -> Predicted:
        """What is predicted of tokens `[n]` that stand behind `previous` ones; `n_vocab` as the previous one is the
        start of a row."""
        keys = keys_of(tokens, previous, n_vocab)
        parts = [entries.on(keys[kind]) for kind, entries in self._entries.items()]
        rows, latents, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.lexsort((latents, rows))
        return Predicted(rows[order], latents[order], values[order])


class _Entries:
    """The entries of rules of one kind, by key."""

    def __init__(self, rules: Mapping[int, Rule]):
        keys = np.concatenate([*(rule.keys for rule in rules.values()), np.empty(0, dtype=np.int64)])
        sizes = [len(rule.table) for rule in rules.values()]
        latents = np.repeat(np.fromiter(rules, dtype=np.int64, count=len(rules)), sizes)
        values = np.concatenate([*(rule.predictions for rule in rules.values()), np.empty(0)])
        order = np.argsort(keys, kind="stable")
        self._keys, self._latents, self._values = keys[order], latents[order], values[order]

    def on(self, keys: NDArray[np.int64]) -> Predicted:
        first = np.searchsorted(self._keys, keys)
        counts = np.searchsorted(self._keys, keys, "right") - first
        # Entry i of a token's run stands at `first + i`.
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        places = np.repeat(first, counts) + within
        return Predicted(np.repeat(np.arange(len(keys)), counts), self._latents[places], self._values[places])
