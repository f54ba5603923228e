"""Examples of every size of activation, and what an explanation says of them. Arrays in, arrays out.

Bricken et al. (2023), "Towards Monosemanticity": intervals of activation are sampled evenly, since the strongest
examples alone flatter an explanation; and automated interpretability is scored over a mixture of examples (6 of the
largest, 2 of each of 12 intervals, 10 at random, 20 of the same tokens elsewhere), nine tokens each.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sparselex.explain.keys import KeyTable
from sparselex.features.counted import Column, CountedTokens

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]

N_TOP, N_EACH, N_MIXED, N_RANDOM, N_ELSEWHERE = 6, 2, 12, 10, 20
"""The mixture: examples of the largest activations, of each interval, intervals, random ones, and tokens of the top
examples elsewhere."""

AROUND = 4
"""Tokens on either side of an example."""


def interval_of(values: Floats, n: int) -> NDArray[np.int64]:
    """`[n_values]`, in which of `n` equal intervals from 0 to the largest each positive value lies; an interval has its
    upper end and not its lower one."""
    return (np.ceil(values * n / values.max()).astype(np.int64) - 1).clip(0, n - 1)


class Sampled(NamedTuple):
    """Examples of each interval."""

    places: NDArray[np.int64]
    """`[n_sampled]`, which values they are, by interval."""

    interval: NDArray[np.int64]
    """`[n_sampled]`, the interval of each."""

    def at(self, which: NDArray[np.bool_]) -> "Sampled":
        """Some of them."""
        return Sampled(self.places[which], self.interval[which])

    def shares(self, said: NDArray[np.bool_], n: int) -> Floats:
        """`[n]`, the share of each interval's examples of which something is `said` (`[n_sampled]`); NaN for one that
        has none."""
        with np.errstate(invalid="ignore"):
            return np.bincount(self.interval, said, n) / np.bincount(self.interval, minlength=n)


def sampled(values: Floats, n_intervals: int, n_each: int, rng: np.random.Generator) -> Sampled:
    """Up to `n_each` values of each interval, drawn at random without replacement."""
    interval, order = interval_of(values, n_intervals), rng.permutation(len(values))
    order = order[np.argsort(interval[order], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(interval[order], interval[order])
    kept = order[place < n_each]
    return Sampled(kept, interval[kept])


def mixture(column: Column, table: KeyTable, n_ctx: int, rng: np.random.Generator) -> Ranks:
    """Ranks of the paper's mixture of examples of one latent; fewer where it has fewer.

    Args:
        column: where it is active among the tokens of `table`, by size.
        table: the tokens of one split.
        n_ctx: tokens in a row; of the largest activations there is one a row.
        rng: draws.
    """
    tokens = table.counted
    order = np.argsort(-column.values, kind="stable")
    rows = tokens.positions[column.ranks[order]] // n_ctx
    top = order[np.sort(np.unique(rows, return_index=True)[1])[:N_TOP]]
    others = np.setdiff1d(np.arange(len(column.ranks)), top)
    of_intervals = np.empty(0, dtype=np.int64)
    if len(others):
        interval = interval_of(np.append(column.values[others], column.values.max()), N_MIXED)[:-1]
        drawn = rng.permutation(len(others))
        drawn = drawn[np.argsort(interval[drawn], kind="stable")]
        place = np.arange(len(drawn)) - np.searchsorted(interval[drawn], interval[drawn])
        of_intervals = others[drawn[place < N_EACH]]
    at_random = rng.choice(len(tokens), min(N_RANDOM, len(tokens)), replace=False)
    keys = np.unique(tokens.tokens[column.ranks[top]])
    there = np.setdiff1d(np.concatenate(table.parts("token", keys)), column.ranks[top])
    elsewhere = rng.choice(there, min(N_ELSEWHERE, len(there)), replace=False)
    return np.concatenate([column.ranks[top], column.ranks[of_intervals], at_random, elsewhere]).astype(np.int64)


def windows(ranks: Ranks, tokens: CountedTokens, n_ctx: int) -> Ranks:
    """Ranks of the tokens around each of `ranks`, itself included: `AROUND` on either side in the same row and document
    as far as they were counted."""
    found = ranks[:, None] + np.arange(-AROUND, AROUND + 1)
    inside = (found >= 0) & (found < len(tokens))
    near = found.clip(0, len(tokens) - 1)
    positions, own = tokens.positions[near], tokens.positions[ranks][:, None]
    inside &= (positions - own == near - ranks[:, None]) & (positions // n_ctx == own // n_ctx)
    inside &= tokens.documents[near] == tokens.documents[ranks][:, None]
    return near[inside]


def spearman(predicted: Floats, true: Floats) -> float:
    """Rank correlation, of equals the mean rank; 0 where a side is the same everywhere, as the paper has it: who always
    says the same says nothing."""
    one, other = (rankdata(values) - (len(values) + 1) / 2 for values in (predicted, true))
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else 0.0


class Consistent(NamedTuple):
    """Where a latent's rule is consistent."""

    whole: bool
    """In every interval that counts."""

    top_only: bool
    """In the upper part, and not in all of those below."""


def consistent(shares: Floats, counts: NDArray[np.bool_], from_share: float, top_share: float) -> Consistent:
    """Whether a rule calls active enough of the examples over the whole range, or over its upper part alone.

    Args:
        shares: `[n]`, share of each interval's examples that it calls active.
        counts: `[n]`, the intervals that have enough examples; none counts, and there is nothing to be consistent in.
        from_share: share from which it is.
        top_share: the upper part of the range: intervals whose middle lies in it.
    """
    n = len(shares)
    upper = (np.arange(n) + 0.5) / n > 1 - top_share
    holds = np.where(counts, shares, 1.0) >= from_share
    whole = bool(counts.any() and holds.all())
    return Consistent(whole, bool((counts & upper).any() and holds[upper].all() and not whole))
