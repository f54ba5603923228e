"""Which latents are active (nearly) only where another is, beyond what the other's density makes likely."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.compare.columns import blocks, n_active
from sparselex.atlas.universality.pairs import moments, products
from sparselex.base.intervals import Floats


class Bounds(NamedTuple):
    """What makes one latent a narrower relative of another."""

    contained: float
    """Least share of its tokens on which the other is active, with chance taken off."""

    ratio: float
    """On how many times as many tokens the other must be active."""

    errors: float
    """By how many standard errors of chance the share must lie above chance."""


class Inside(NamedTuple):
    """Pairs of which one lies inside the other."""

    left: NDArray[np.int64]
    """`[n_pairs]`, rows of the left."""

    right: NDArray[np.int64]
    """`[n_pairs]`, rows of the right."""

    wider: NDArray[np.bool_]
    """`[n_pairs]`, whether the right one is the wider of the two."""

    def at(self, kept: NDArray) -> "Inside":
        """Some of them."""
        return Inside(self.left[kept], self.right[kept], self.wider[kept])

    def having(self, n_left: int, *, wider: bool) -> NDArray[np.bool_]:
        """`[n_left]`, which rows of the left have a wider relative, or a narrower one."""
        found = np.zeros(n_left, dtype=bool)
        found[self.left[self.wider == wider]] = True
        return found


class Shares(NamedTuple):
    """How far the narrower of each pair lies inside the wider one."""

    contained: Floats
    """Share of the narrow one's tokens on which the wide one is active; NaN where it has none."""

    chance: Floats
    """Share of all tokens on which the wide one is active."""

    ratio: Floats
    """On how many times as many tokens the wide one is active."""

    errors: Floats
    """By how many standard errors of chance the share lies above chance."""

    @classmethod
    def of(cls, both: Floats, narrow: Floats, wide: Floats, n_tokens: Floats | int) -> "Shares":
        """From the numbers of tokens on which both are active, the narrow one is, and the wide one is."""
        with np.errstate(invalid="ignore", divide="ignore"):
            contained, chance = both / narrow, wide / n_tokens
            error = np.sqrt(chance * (1 - chance) / narrow)
            errors = np.where(error > 0, (contained - chance) / error, 0.0)
            return cls(contained, chance + np.zeros_like(contained), wide / narrow, errors)

    @property
    def beyond(self) -> Floats:
        """The share with chance taken off: 0 for what chance makes, 1 for all."""
        return np.divide(
            self.contained - self.chance, 1 - self.chance, out=np.zeros_like(self.contained), where=self.chance < 1
        )

    def within(self, bounds: Bounds) -> NDArray[np.bool_]:
        """Which of them make one latent a narrower relative of the other."""
        enough = (self.beyond >= bounds.contained) & (self.ratio >= bounds.ratio)
        return enough & (self.errors >= bounds.errors)


class Held(NamedTuple):
    """How far the narrower of each pair lies inside the wider one on other tokens."""

    whole: Shares
    """`[n_pairs]` each."""

    without: Shares
    """`[n_groups, n_pairs]` each, the same without each group of documents."""


def find_inside(
    left: csr_array, right: csr_array, bounds: Bounds, told: Callable[[int], None] = lambda n: None
) -> Inside:
    """All pairs of a row of the left and one of the right, `[n, n_tokens]` each, one of which lies inside the other."""
    own, other, n_tokens = n_active(left).astype(float), n_active(right).astype(float), left.shape[1]
    found = list[Inside]()
    for block in blocks(left, right):
        both = block.n_both.astype(np.float64)
        mine, theirs = np.broadcast_arrays(own[block.start : block.start + len(both), None], other)
        for wider in (True, False):
            narrow, wide = (mine, theirs) if wider else (theirs, mine)
            # Most pairs share nothing: the rest is looked at one by one.
            row, column = np.nonzero(both >= bounds.contained * narrow)
            there = Shares.of(both[row, column], narrow[row, column], wide[row, column], n_tokens).within(bounds)
            row, column = row[there], column[there]
            found.append(Inside(row + block.start, column, np.full(len(row), wider)))
        told(len(both))
    return Inside(*(np.concatenate(part) for part in zip(*found, strict=True)))


def held_inside(left: csr_array, right: csr_array, pairs: Inside, groups: NDArray[np.int64], n_groups: int) -> Held:
    """How far the narrower of each pair lies inside the wider one on these tokens; `groups` is the group of documents
    of each token."""
    ones = [csr_array((np.ones(len(one.data)), one.indices, one.indptr), shape=one.shape) for one in (left, right)]
    both = products(ones[0][pairs.left], ones[1], pairs.right, groups, n_groups)
    own, other = (moments(one, groups, n_groups).x for one in ones)
    mine, theirs = own[:, pairs.left], other[:, pairs.right]
    narrow, wide = np.where(pairs.wider, mine, theirs), np.where(pairs.wider, theirs, mine)
    n = np.bincount(groups, minlength=n_groups).astype(np.float64)[:, None]
    totals = [one.sum(0, keepdims=True) for one in (both, narrow, wide, n)]
    without = Shares.of(*(total - one for total, one in zip(totals, (both, narrow, wide, n), strict=True)))
    return Held(Shares.of(*(total[0] for total in totals)), without)
