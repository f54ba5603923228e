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

MORE = 2
"""How many more tokens than in the most similar two texts may differ in the pair that is taken."""


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
    """The token by which two texts are told apart, of those in which they differ."""

    back: int
    """How many tokens before the active one it stands; 0 for that itself."""

    both: int
    """The token of the text in which both latents are active."""

    only: int
    """That of the text in which only the wider one is."""

    def votes(self, context: NDArray[np.int32]) -> NDArray[np.int64]:
        """`[n]`, 1 for a context with the first token at that place, which says that both latents are active, -1 for
        one with the second, which says that only the wider one is, 0 for any other, of which it says nothing."""
        there = context[:, context.shape[1] - 1 - self.back]
        return (there == self.both).astype(np.int64) - (there == self.only)


class MinimalPair(NamedTuple):
    """Two places."""

    both: int
    """Number of the place at which both latents are active."""

    only: int
    """That at which only the wider one is."""

    difference: Difference
    """The token that tells them apart."""

    differing: int
    """In how many tokens they differ."""

    at_random: float
    """In how many two such places differ at random."""


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
    """Two of the `n_places` strongest places of either kind that are as alike as possible: in different rows, not the
    same in all tokens, and none begins within them (two beginnings are alike in that nothing stands there). Of those
    that differ in the fewest tokens, and up to `MORE` more, the pair of which one token that differs says most of all
    these places: it stands there more often where both latents are active, and the other one where only the wider one
    is. None where there is no such pair."""
    whole = (places.context != NOTHING).all(axis=1)
    first, second = (
        _strongest(np.flatnonzero(there & whole), size, n_places)
        for there, size in ((places.both, places.narrow), (~places.both, places.wide))
    )
    if not len(first) or not len(second):
        return None
    n = places.context.shape[1]
    differing, said = np.zeros((len(first), len(second)), dtype=np.int16), np.zeros((len(first), len(second)))
    at = np.zeros((len(first), len(second)), dtype=np.int16)
    for back in range(n):
        column = places.context[:, n - 1 - back]
        differing += column[first][:, None] != column[second]
        speaks = _speaks(column, places.both)
        here = speaks[first][:, None] - speaks[second]
        at[here > said] = back
        np.maximum(said, here, out=said)
    apart = (differing > 0) & (places.row[first][:, None] != places.row[second])
    if not apart.any():
        return None
    near = apart & (differing <= differing[apart].min() + MORE)
    # What is said counts first, and of pairs that say as much the more similar one.
    i, j = np.unravel_index(np.where(near, said - 1e-6 * differing, -np.inf).argmax(), said.shape)
    one, other, back = int(first[i]), int(second[j]), int(at[i, j])
    tokens = (int(places.context[place, n - 1 - back]) for place in (one, other))
    return MinimalPair(one, other, Difference(back, *tokens), int(differing[i, j]), float(differing.mean()))


def _speaks(tokens: NDArray[np.int32], both: NDArray[np.bool_]) -> Floats:
    """`[n]`, by how much more of the places at which both latents are active have the token of each place than of the
    others."""
    number = tokens - NOTHING
    shares = [np.bincount(number[kind], minlength=number.max() + 1) / np.count_nonzero(kind) for kind in (both, ~both)]
    return (shares[0] - shares[1])[number]


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
