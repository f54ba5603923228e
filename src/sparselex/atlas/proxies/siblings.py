"""Features that fill the gaps of the one that carries a concept best: a greedy cover of the tokens inside."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.proxies.config import HowMeasured
from sparselex.atlas.proxies.moments import Marked, Together
from sparselex.atlas.proxies.records import Sibling
from sparselex.features.index import FeatureIndex
from sparselex.text.splits import Split

MOST_CANDIDATES = 200
"""Latents that are looked at, those that are active on most tokens inside."""

_NEAR = 10
"""Latents of about a density for each that is drawn of them."""


class Taken(NamedTuple):
    """A latent of the cover."""

    latent: int
    added: float
    """Share of the training tokens inside that it adds."""


def candidates(found: Together, concept: int, best: int, config: HowMeasured, n_inside: int) -> NDArray[np.int64]:
    """Latents that may fill gaps: those of whose activation so much lies inside, on training tokens."""
    inside = np.divide(found.mass_inside[:, concept], found.mass, out=np.zeros(len(found.mass)), where=found.mass > 0)
    allowed = (inside >= config.least_inside) & (found.n_active >= config.least_active)
    allowed[best] = False
    every = np.flatnonzero(allowed & (found.n_inside[:, concept] > 0))
    return every[np.argsort(-found.n_inside[every, concept], kind="stable")[:MOST_CANDIDATES]]


def cover(active: csr_array, of: NDArray[np.int64], covered: NDArray[np.bool_], n: int) -> list[Taken]:
    """At most `n` latents, each that which is active on most tokens on which none before is.

    Args:
        active: `[n_candidates, n_inside]`, not 0 where a candidate is active on a token inside.
        of: `[n_candidates]`, their numbers.
        covered: `[n_inside]`, where the best feature is active; changed as latents are taken.
        n: how many are taken; fewer where no more adds anything.
    """
    taken = list[Taken]()
    for _ in range(n):
        if not len(of):
            break
        gains = active @ (~covered).astype(np.float64)
        place = int(np.argmax(gains))
        if gains[place] <= 0:
            break
        covered[active.indices[active.indptr[place] : active.indptr[place + 1]]] = True
        taken.append(Taken(int(of[place]), float(gains[place]) / len(covered)))
    return taken


def flags_inside(index: FeatureIndex, split: Split, latents: Sequence[int], marked: Marked) -> csr_array:
    """`[n_latents, n_inside]`, 1 where each latent is active on a token inside."""
    place = np.full(marked.n_tokens, -1)
    place[marked.ranks] = np.arange(len(marked.ranks))
    parts, counts = [np.empty(0, dtype=np.int64)], [0]
    for latent in latents:
        ranks = index.counted_column(latent, split).ranks
        at = place[ranks]
        parts.append(at[at >= 0])
        counts.append(len(parts[-1]))
    indices = np.concatenate(parts)
    shape = (len(counts) - 1, len(marked.ranks))
    return csr_array((np.ones(len(indices)), indices, np.cumsum(counts)), shape=shape)


def judged_siblings(
    index: FeatureIndex,
    best: int,
    taken: Sequence[Taken],
    test: Marked,
    found: Together,
    config: HowMeasured,
    rng: np.random.Generator,
) -> list[Sibling]:
    """What each latent of a cover adds on test tokens, beside random ones of about its density."""
    n_inside = len(test.ranks)
    own = flags_inside(index, "test", [best, *(one.latent for one in taken)], test)
    covered = _row(own, 0, n_inside)
    siblings = []
    for place, one in enumerate(taken, 1):
        mine = _row(own, place, n_inside)
        drawn = _of_like_density(found, one.latent, [best, *(each.latent for each in taken)], config, rng)
        random = flags_inside(index, "test", drawn.tolist(), test) @ (~covered).astype(np.float64)
        added = int((mine & ~covered).sum())
        covered |= mine
        n_active = len(index.counted_column(one.latent, "test").ranks)
        siblings.append(
            Sibling(
                latent=one.latent,
                train_added=one.added,
                added=added / n_inside if n_inside else None,
                recall=float(covered.mean()) if n_inside else None,
                specificity=int(mine.sum()) / n_active if n_active else None,
                random_added=float(random.mean()) / n_inside if n_inside and len(drawn) else None,
            )
        )
    return siblings


def _row(active: csr_array, place: int, n: int) -> NDArray[np.bool_]:
    found = np.zeros(n, dtype=bool)
    found[active.indices[active.indptr[place] : active.indptr[place + 1]]] = True
    return found


def _of_like_density(
    found: Together, latent: int, without: Sequence[int], config: HowMeasured, rng: np.random.Generator
) -> NDArray[np.int64]:
    alive = np.flatnonzero(found.n_active > 0)
    alive = alive[~np.isin(alive, without)]
    apart = np.abs(np.log(found.n_active[alive] / max(1, found.n_active[latent])))
    near = alive[np.argsort(apart, kind="stable")[: _NEAR * config.n_random]]
    return rng.choice(near, min(config.n_random, len(near)), replace=False)
