"""Which latents are active together, and which neurons go with each, from a sample of tokens. Arrays in, arrays out.

Latents are taken a block at a time, as products of sparse matrices: never is there anything `[d_sae, d_sae]`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sparselex.features.sample import Sampled

LEAST_TOGETHER = 5
"""Sampled tokens on which two latents must be active together to be called neighbours, and on which a latent must be
active for its neurons to be named: fewer say nothing."""

_BLOCK = 1 << 22
"""Numbers that the product of one block of latents may have."""


class Best(NamedTuple):
    """The best of each latent, best first; unused places hold -1."""

    place: NDArray[np.int32]
    """`[d_sae, n]`."""

    value: NDArray
    """`[d_sae, n]`."""


class Neurons(NamedTuple):
    """The coordinates that go with each latent, and how well some coordinate goes with it by chance."""

    best: Best

    chance: NDArray[np.float32]
    """`[d_sae]`, the largest correlation, by size, of any coordinate with the same activations on other tokens; NaN
    where there is none."""


def active_in(sampled: Sampled, d_sae: int) -> NDArray[np.int32]:
    """`[d_sae]`, tokens on which each latent is active, of those on which pairs are counted."""
    return np.bincount(_of_pairs(sampled, d_sae).indices, minlength=d_sae).astype(np.int32)


def coactive(sampled: Sampled, d_sae: int, n: int) -> Best:
    """The `n` latents that most go together with each, and the number of sampled tokens on which both are active.

    Ranked by the correlation of being active (phi), which is 0 at chance: dense latents are together with everything,
    and rare ones have a huge lift over chance by a few tokens. Of equals the lower number comes first. Only those that
    are together on `LEAST_TOGETHER` tokens or more, and more often than chance.
    """
    n_tokens, by_token = sampled.n_together, _of_pairs(sampled, d_sae)
    by_latent, n_active = by_token.T.tocsr(), active_in(sampled, d_sae).astype(np.float64)
    found = _none(d_sae, n, np.int32)
    step = max(1, _BLOCK // d_sae)
    for start in range(0, d_sae, step):
        both = by_latent[start : start + step] @ by_token
        kept = np.flatnonzero(both.data >= LEAST_TOGETHER)
        one, other, count = np.searchsorted(both.indptr, kept, "right") - 1, both.indices[kept], both.data[kept]
        phi = _phi(count, n_active[start + one], n_active[other], n_tokens)
        above = np.flatnonzero((phi > 0) & (other != start + one))
        _put_best(found, start, one[above], other[above], phi[above], count[above])
    return found


def neurons(sampled: Sampled, d_sae: int, n: int) -> Neurons:
    """The `n` coordinates of what was read that correlate most, by size, with each latent's activation, and Pearson's
    correlation with each, over the sampled tokens whose activations were kept.

    What the largest of so many correlations is by chance is measured: with the activations shifted by half the sample,
    whose tokens are in no order. A formula for normal values would be too low where a few tokens have outliers.
    """
    found, d_in = _none(d_sae, n, np.float32), sampled.x.shape[1]
    chance = np.full(d_sae, np.nan, dtype=np.float32)
    n_tokens = len(sampled.x)
    if n_tokens < LEAST_TOGETHER:
        return Neurons(found, chance)
    wide = sampled.x.astype(np.float64)
    wide -= wide.mean(0)
    spread = np.sqrt((wide * wide).mean(0))
    z = (wide / np.where(spread > 0, spread, np.inf)).astype(np.float32)  # what never varies correlates with nothing
    indptr = sampled.indptr[: n_tokens + 1]
    values, latents = sampled.values[: indptr[-1]], sampled.latents[: indptr[-1]]
    by_latent = csr_matrix((values, latents, indptr), shape=(n_tokens, d_sae)).T.tocsr()
    each = values.astype(np.float64)
    mean, square = (np.bincount(latents, part, d_sae) / n_tokens for part in (each, each * each))
    own = np.sqrt(np.maximum(square - mean * mean, 0))
    known = (np.bincount(latents, minlength=d_sae) >= LEAST_TOGETHER) & (own > 0)
    shifted = np.roll(z, n_tokens // 2, axis=0)
    step = max(1, _BLOCK // d_in)
    for start in range(0, d_sae, step):
        chosen = start + np.flatnonzero(known[start : start + step])
        r = (by_latent[chosen] @ z) / (n_tokens * own[chosen, None])
        chance[chosen] = np.abs(by_latent[chosen] @ shifted).max(1) / (n_tokens * own[chosen])
        near = np.argpartition(-np.abs(r), min(n, d_in) - 1, axis=1)[:, :n]
        near.sort(axis=1)  # of equals the lower number comes first
        order = np.argsort(-np.abs(np.take_along_axis(r, near, 1)), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        found.place[chosen, : near.shape[1]] = near
        found.value[chosen, : near.shape[1]] = np.take_along_axis(r, near, 1)
    return Neurons(found, chance)


def _of_pairs(sampled: Sampled, d_sae: int) -> csr_matrix:
    """`[n_together, d_sae]`, a one for each latent that is active."""
    indptr = sampled.indptr[: sampled.n_together + 1]
    latents = sampled.latents[: indptr[-1]]
    return csr_matrix((np.ones(len(latents), dtype=np.int32), latents, indptr), shape=(sampled.n_together, d_sae))


def _phi(both: NDArray, one: NDArray, other: NDArray, n: int) -> NDArray[np.float64]:
    """Correlation of two indicators by their counts; 0 where one of them is active on all tokens."""
    spread = one * (n - one) * other * (n - other)
    return (both.astype(np.float64) * n - one * other) / np.sqrt(np.where(spread > 0, spread, np.inf))


def _none(d_sae: int, n: int, dtype: type) -> Best:
    return Best(np.full((d_sae, n), -1, dtype=np.int32), np.zeros((d_sae, n), dtype=dtype))


def _put_best(found: Best, start: int, one: NDArray, place: NDArray, score: NDArray, value: NDArray) -> None:
    """Write the places with the best scores of each latent of a block, whose entries are in the order of latents."""
    n, counts = found.place.shape[1], np.bincount(one)
    # Sorting everything would take longer than the product: sort what is above a bar that leaves a latent enough.
    bar = np.zeros(len(counts))
    for level in (0.03, 0.06, 0.12, 0.25, 0.5):
        bar[np.bincount(one[score >= level], minlength=len(counts)) >= n] = level
    kept = np.flatnonzero(score >= bar[one])
    one, place, score, value = one[kept], place[kept], score[kept], value[kept]
    order = np.lexsort((place, -score, one))
    one = one[order]
    rank = np.arange(len(one)) - np.searchsorted(one, one)
    inside = rank < n
    rows, order = start + one[inside], order[inside]
    found.place[rows, rank[inside]] = place[order]
    found.value[rows, rank[inside]] = value[order]
