"""The null that bites: the rule of another latent.

A rule may score well because many latents are active on much the same tokens, and then it says little of its own. For
each latent the rule of another that does best on validation documents is looked for among all of them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from sparselex.explain.keys import KeyTable
from sparselex.explain.rules import Rule
from sparselex.features.counted import Column

_BLOCK = 256
"""Latents held against all rules at a time: dense products of 256 by 65,536 are 128 MiB."""


def best_of_others(
    latents: Sequence[int], rules: Mapping[int, Rule], table: KeyTable, column: Callable[[int], Column]
) -> dict[int, int]:
    """For each of `latents` the other latent whose rule has the highest F1 for it on the tokens of `table`, the first
    of equals; latents that no other rule meets anywhere are left out. `column` gives where one is active there."""
    named = np.fromiter(rules, dtype=np.int64, count=len(rules))
    if not len(named):
        return {}
    calls = _calls(list(rules.values()), table)
    n_called = np.diff(calls.indptr)
    by_token = calls.tocsr()
    found: dict[int, int] = {}
    for start in range(0, len(latents), _BLOCK):
        block = np.array(latents[start : start + _BLOCK])
        active = _active([column(int(latent)) for latent in block], table.n)
        hits = (active @ by_token).toarray()
        f1 = 2 * hits / np.maximum(1, n_called + np.diff(active.indptr)[:, None])
        f1[block[:, None] == named] = 0
        best = f1.argmax(1)
        met = f1[np.arange(len(block)), best] > 0
        found |= dict(zip(block[met].tolist(), named[best[met]].tolist(), strict=True))
    return found


def _calls(rules: Sequence[Rule], table: KeyTable) -> csc_matrix:
    """`[n_tokens, n_rules]`, 1 where a rule calls a token active."""
    called = [table.called(rule).ranks for rule in rules]
    return csc_matrix(_ones(called), shape=(table.n, len(rules)))


def _active(columns: Sequence[Column], n: int) -> csr_matrix:
    """`[n_latents, n_tokens]`, 1 where a latent is active."""
    return csr_matrix(_ones([column.ranks for column in columns]), shape=(len(columns), n))


def _ones(ranks: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Values, places and beginnings of a compressed matrix of ones; counts are exact in float32 up to 2^24."""
    beginnings = np.concatenate([[0], np.cumsum([len(part) for part in ranks])])
    places = np.concatenate([*ranks, np.empty(0, dtype=np.int64)])
    return np.ones(len(places), dtype=np.float32), places, beginnings
