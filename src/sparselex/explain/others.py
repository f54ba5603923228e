"""The null that bites: the rule of another latent.

A rule may score well because many latents are active on much the same tokens, and then it says little of its own. For
each latent the rule of another that does best on validation documents is looked for among all of them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from sparselex.explain.keys import KeyTable
from sparselex.explain.rules import Rule
from sparselex.features.counted import Column


def best_of_others(
    latents: Sequence[int], rules: Mapping[int, Rule], table: KeyTable, column: Callable[[int], Column]
) -> dict[int, int]:
    """For each of `latents` the other latent whose rule has the highest F1 for it on the tokens of `table`, the first
    of equals; latents that no other rule meets anywhere are left out. `column` gives where one is active there."""
    named = np.fromiter(rules, dtype=np.int64, count=len(rules))
    if not len(named):
        return {}
    calls = _calls(list(rules.values()), table)
    n_called = np.bincount(calls.indices, minlength=len(named))
    found: dict[int, int] = {}
    for latent in latents:
        ranks = column(latent).ranks
        hits = np.bincount(calls[ranks].indices, minlength=len(named))
        f1 = 2 * hits / np.maximum(1, n_called + len(ranks))
        f1[named == latent] = 0
        best = int(f1.argmax())
        if f1[best] > 0:
            found[latent] = int(named[best])
    return found


def _calls(rules: Sequence[Rule], table: KeyTable) -> csr_matrix:
    """`[n_tokens, n_rules]`, true where a rule calls a token active."""
    called = [table.called(rule).ranks for rule in rules]
    ends = np.cumsum([0, *map(len, called)])
    there = np.ones(ends[-1], dtype=bool)
    return csc_matrix((there, np.concatenate(called), ends), shape=(table.n, len(rules))).tocsr()
