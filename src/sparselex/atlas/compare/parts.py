"""Splitting: latents of one dictionary that another has in several parts."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from sparselex.atlas.compare.columns import n_active
from sparselex.atlas.config import CompareConfig

_LEAST_SHARE = 0.02
"""Share of a latent's active tokens below which another one is no part of it worth naming."""

_STEP = 512


class Parts(NamedTuple):
    """Pairs of a latent and a part of it, ordered by latent, then by share, the largest first."""

    whole: NDArray[np.int64]
    """The latent."""

    part: NDArray[np.int64]
    """A latent of the other side that is active mostly where it is."""

    share: NDArray[np.float64]
    """Share of the latent's active tokens on which the part is active."""

    inside: NDArray[np.float64]
    """Share of the part's active tokens on which the latent is active."""


class PartKeeper:
    """Takes blocks of common active tokens and keeps which latents are parts of which; a row's latent is the whole."""

    def __init__(self, whole: csr_array, part: csr_array, config: CompareConfig):
        self._n_whole, self._n_part = n_active(whole), n_active(part)
        self._least, self._found = config.least_inside, list[tuple[NDArray, NDArray, NDArray]]()

    def add(self, start: int, n_both: NDArray[np.float32], *, turned: bool = False) -> None:
        """Take the tokens on which both are active, `[n, d_part]` from the whole `start` on; `turned`, `[n, d_whole]`
        from the part `start` on."""
        of_rows, of_columns = slice(start, start + len(n_both)), slice(None)
        wholes, parts = (of_columns, of_rows) if turned else (of_rows, of_columns)
        counts = n_both.T if turned else n_both
        inside = counts >= self._least * self._n_part[parts][None, :].clip(min=1)
        large = counts >= _LEAST_SHARE * self._n_whole[wholes][:, None].clip(min=1)
        whole, part = np.nonzero(inside & large & (counts > 0))
        found = counts[whole, part]
        self._found.append((whole + (wholes.start or 0), part + (parts.start or 0), found))

    def finish(self) -> Parts:
        """All of them."""
        whole, part, n_both = (np.concatenate(arrays) for arrays in zip(*self._found, strict=True))
        share, inside = n_both / self._n_whole[whole], n_both / self._n_part[part]
        order = np.lexsort((part, -share, whole))
        return Parts(whole[order], part[order], share[order], inside[order])


class Covering(NamedTuple):
    """How far the parts of each latent cover it, `[d_whole]` each."""

    n_parts: NDArray[np.int64]
    """How many parts there are."""

    covered: NDArray[np.float64]
    """Share of its active tokens on which any of its parts is active; 0 without parts."""

    largest: NDArray[np.float64]
    """Share that the largest of them covers alone."""

    split: NDArray[np.bool_]
    """Whether two parts or more cover it together, and none does alone."""


def covering(parts: Parts, whole: csr_array, part: csr_array, config: CompareConfig) -> Covering:
    """What the parts of each latent cover together: their active tokens joined, each token once."""
    n, active = whole.shape[0], n_active(whole).clip(min=1)
    ones = np.ones(len(parts.whole), dtype=np.float32)
    among = coo_array((ones, (parts.whole, parts.part)), shape=(n, part.shape[0])).tocsr()
    flags = csr_array((np.ones(len(part.data), np.float32), part.indices, part.indptr), shape=part.shape)
    own = csr_array((np.ones(len(whole.data), np.float32), whole.indices, whole.indptr), shape=whole.shape)
    covered = np.zeros(n)
    for start in range(0, n, _STEP):
        rows = slice(start, start + _STEP)
        covered[rows] = ((among[rows] @ flags) > 0).multiply(own[rows]).sum(axis=1)
    covered /= active
    n_parts = np.bincount(parts.whole, minlength=n)
    largest = np.zeros(n)
    np.maximum.at(largest, parts.whole, parts.share)
    least = config.least_covered
    return Covering(n_parts, covered, largest, (n_parts > 1) & (covered >= least) & (largest < least))
