"""Which texts go together, told from the shingles that are kept of each: arrays in, groups out.

Two go together if they share at least `FEWEST` of these, and of the kept shingles

- half of the shorter one's stand in the longer one, counting those alone that stand in at most `COMMON` texts: a
  licence in thousands of files is no copying, and without this bound the file that holds the licence and nothing else
  would tie all of them together; or
- half of the longer one's stand in the shorter one, common ones too: this finds the many copies of one text.

Whoever goes together with the same text goes together: else a copy would cross the split. What ties is always half a
text, never a weak likeness. Measured on Python's standard library: docs/lab-log.md.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MOST_OF_IT = 1 / 2
"""Share of a text that stands in another from which on they are copies."""

COMMON = 16
"""Texts in which a shingle may stand to be evidence that one is contained in another."""

PAIRED = 32
"""Texts in which a shingle may stand for all pairs of them to be looked at. Where it stands in more, each is compared
with the first, lest there be as many pairs as texts squared; many copies of one text have the same first."""

FEWEST = 8
"""Kept shingles that two texts must share: below about 200 bytes only equal texts are known as copies."""

_PAIRS = 2**21
"""Pairs that are counted at a time."""

Numbers = NDArray[np.int64]


def together(hashes: NDArray[np.uint64], owners: Numbers, n: int) -> Numbers:
    """`[n]` the group of each of `n` texts, where `owners` says of which text each of `hashes` is kept."""
    owners, starts, counts = _shared(hashes, owners)
    few = _counted(_all_pairs(owners, starts, counts, n, range(2, COMMON + 1)))
    some = _all_pairs(owners, starts, counts, n, range(COMMON + 1, PAIRED + 1))
    many = _counted(chain(some, [_with_the_first(owners, starts, counts, n)]))
    pairs = np.union1d(few[0], many[0])
    n_few, n_shared = (np.zeros(len(pairs), dtype=np.int64) for _ in range(2))
    n_few[np.searchsorted(pairs, few[0])] = few[1]
    n_shared[np.searchsorted(pairs, many[0])] = many[1]
    n_shared += n_few
    sizes, (first, second) = np.bincount(owners, minlength=n), np.divmod(pairs, max(n, 1))
    contained = n_few >= MOST_OF_IT * np.minimum(sizes[first], sizes[second])
    alike = n_shared >= MOST_OF_IT * np.maximum(sizes[first], sizes[second])
    tied = (contained | alike) & (n_shared >= FEWEST)
    links = coo_array((np.ones(int(tied.sum()), dtype=np.int8), (first[tied], second[tied])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _shared(hashes: NDArray[np.uint64], owners: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The texts of each hash, once each and ascending, those of one hash behind those of another; where each hash
    begins among them; and how many texts it has."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    is_other = np.ones(len(hashes), dtype=np.bool_)
    is_other[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes, owners = hashes[is_other], owners[is_other]
    is_first = np.ones(len(hashes), dtype=np.bool_)
    is_first[1:] = hashes[1:] != hashes[:-1]
    starts = np.flatnonzero(is_first)
    return owners, starts, np.diff(starts, append=len(hashes))


def _all_pairs(owners: Numbers, starts: Numbers, counts: Numbers, n: int, wanted: Iterable[int]) -> Iterator[Numbers]:
    """All pairs of texts (`first * n + second`) of each hash that has as many texts as is `wanted`."""
    for count in wanted:
        one, other = np.triu_indices(count, 1)
        places, step = starts[counts == count], max(1, _PAIRS // len(one))
        for begin in range(0, len(places), step):
            sharing = owners[places[begin : begin + step, None] + np.arange(count)]
            yield (sharing[:, one] * n + sharing[:, other]).ravel()


def _with_the_first(owners: Numbers, starts: Numbers, counts: Numbers, n: int) -> Numbers:
    """Pairs of each text with the first one, of the hashes that have more than `PAIRED`."""
    has_many = counts > PAIRED
    behind = np.repeat(has_many, counts)
    behind[starts] = False
    return np.repeat(owners[starts[has_many]], counts[has_many] - 1) * n + owners[behind]


def _counted(parts: Iterable[Numbers]) -> tuple[Numbers, Numbers]:
    """Each pair once, ascending, and how often it came."""
    pairs, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for part in parts:
        new, n_new = np.unique(part, return_counts=True)
        pairs, places = np.unique(np.concatenate([pairs, new]), return_inverse=True)
        counts = np.bincount(places, np.concatenate([counts, n_new]), len(pairs)).astype(np.int64)
    return pairs, counts
