"""Minimal pairs of texts: of two latents, one of which is wider, two places as alike as possible, at one of which both
are active and at the other only the wider one; and whether what the two texts differ in tells the latents apart
elsewhere."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.text.rows import TokenRows

NOTHING = -1
"""What stands in a context before its document begins."""

_TRIED = 64
"""Most pairs of texts that differ in equally few tokens of which the best is taken."""


class Places(NamedTuple):
    """The tokens at which the wider latent is active."""

    context: NDArray[np.int32]
    """`[n, n_before + 1]`, the tokens up to each and the one itself, which is the last; `NOTHING` before its text."""

    row: NDArray[np.int64]
    """`[n]`, the row of the corpus that each is in."""

    both: NDArray[np.bool_]
    """`[n]`, whether the narrower one is active too."""

    wide: Floats
    """`[n]`, how active the wider latent is, by size."""

    narrow: Floats
    """`[n]`, how active the narrower one is, by size."""

    def at(self, kept: NDArray) -> "Places":
        """Some of them."""
        return Places(*(part[kept] for part in self))


class Difference(NamedTuple):
    """In what two texts differ: at which places before the active token (0 for it), and what stands there."""

    back: tuple[int, ...]
    """Tokens before the active one, ascending."""

    both: tuple[int, ...]
    """The tokens of the text in which both latents are active."""

    only: tuple[int, ...]
    """Those of the text in which only the wider one is."""

    def votes(self, context: NDArray[np.int32]) -> NDArray[np.int64]:
        """`[n]`, how many more of its tokens each context shares with the first text than with the second: above 0 it
        says that both latents are active, below 0 that only the wider one is, at 0 nothing."""
        last = context.shape[1] - 1
        found = np.zeros(len(context), dtype=np.int64)
        for back, both, only in zip(self.back, self.both, self.only, strict=True):
            there = context[:, last - back]
            found += there == both
            found -= there == only
        return found


class MinimalPair(NamedTuple):
    """Two places."""

    both: int
    """Number of the place at which both latents are active."""

    only: int
    """That at which only the wider one is."""

    difference: Difference
    """In what their texts differ."""

    at_random: float
    """In how many tokens two such places differ at random."""


def contexts(corpus: TokenRows, positions: NDArray[np.int64], n_before: int) -> NDArray[np.int32]:
    """`[n, n_before + 1]`, the tokens before some positions of a corpus, inside their rows and documents, and those at
    them."""
    tokens, owners = (np.asarray(one).reshape(-1) for one in (corpus.tokens, corpus.documents))
    found = np.full((len(positions), n_before + 1), NOTHING, dtype=np.int32)
    begins = positions - positions % corpus.n_ctx
    for back in range(n_before + 1):
        there = positions - back
        inside = there >= begins
        inside[inside] = owners[there[inside]] == owners[positions[inside]]
        found[inside, n_before - back] = tokens[there[inside]]
    return found


def minimal_pair(places: Places, n_places: int) -> MinimalPair | None:
    """The two most similar of the `n_places` strongest places of either kind, in different rows, that are not the same
    in all tokens, nor begin within them: two beginnings are alike in that nothing stands there. Of several that differ
    in equally few, the pair whose difference tells the latents apart best at all of these places. None where there is
    no such pair."""
    whole = (places.context != NOTHING).all(axis=1)
    first, second = (
        _strongest(np.flatnonzero(there & whole), size, n_places)
        for there, size in ((places.both, places.narrow), (~places.both, places.wide))
    )
    if not len(first) or not len(second):
        return None
    n = places.context.shape[1]
    differing = np.full((len(first), len(second)), n, dtype=np.int16)
    for column in range(n):
        differing -= places.context[first, column][:, None] == places.context[second, column]
    apart = (differing > 0) & (places.row[first][:, None] != places.row[second])
    if not apart.any():
        return None
    least = differing[apart].min()
    tried = np.argwhere(apart & (differing == least))[:_TRIED]
    best, found = -1.0, None
    seen = set[Difference]()
    for i, j in tried.tolist():
        difference = _difference(places.context[first[i]], places.context[second[j]])
        if difference in seen:
            continue
        seen.add(difference)
        told = told_by(difference.votes(places.context), places.both)
        # Of all places of either kind, and not of those of which it says something: two places tell themselves apart.
        n_both, n_only = np.count_nonzero(places.both), np.count_nonzero(~places.both)
        worth = (told.hits_both - told.missed_both) / n_both + (told.hits_only - told.missed_only) / n_only
        if worth > best or found is None:
            best, found = worth, (int(first[i]), int(second[j]), difference)
    return MinimalPair(*found, float(differing.mean())) if found else None


class Told(NamedTuple):
    """What a difference said of places, and what is true of them."""

    hits_both: float
    """Places at which both latents are active, as it says."""

    missed_both: float
    """Places at which both are active, and it says that only the wider one is."""

    hits_only: float
    """Places at which only the wider one is active, as it says."""

    missed_only: float
    """Places at which only the wider one is active, and it says that both are."""

    @property
    def share(self) -> float:
        """The mean of what is told rightly of either kind: 1/2 for what says nothing. NaN where one kind is missing."""
        both, only = self.hits_both + self.missed_both, self.hits_only + self.missed_only
        return (self.hits_both / both + self.hits_only / only) / 2 if both and only else float("nan")


def told_by(votes: NDArray[np.int64], both: NDArray[np.bool_]) -> Told:
    """What a difference says of places, of which at some `both` latents are active."""
    yes, no = votes > 0, votes < 0
    counts = (yes & both, no & both, no & ~both, yes & ~both)
    return Told(*(float(np.count_nonzero(one)) for one in counts))


def _strongest(places: NDArray[np.int64], size: Floats, n: int) -> NDArray[np.int64]:
    return places[np.argsort(-size[places], kind="stable")[:n]]


def _difference(first: NDArray[np.int32], second: NDArray[np.int32]) -> Difference:
    back = np.flatnonzero((first != second)[::-1])
    there = len(first) - 1 - back
    return Difference(*(tuple(one.tolist()) for one in (back, first[there], second[there])))
