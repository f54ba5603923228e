"""Groups of latents whose decoder rows are near each other. Arrays in, arrays out."""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

_ROWS = 1024
"""Latents whose cosines with all others are held at once."""

Links = tuple[Int[NDArray[np.int64], "n 2"], Float[NDArray[np.float64], " n"]]
"""Pairs of latents, and their cosines."""


def links(rows: Float[NDArray, "d_sae d"], n_nearest: int, least_cosine: float) -> Links:
    """Each latent with its nearest others, of those whose cosine is above `least_cosine`; each pair once. A row that is
    zero is near nothing."""
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    pairs, cosines = list[NDArray](), list[NDArray]()
    for start in range(0, len(units), _ROWS):
        near = units[start : start + _ROWS] @ units.T
        own = np.arange(len(near))
        near[own, own + start] = -np.inf
        n = min(n_nearest, len(units) - 1)
        best = np.argpartition(-near, n - 1, axis=1)[:, :n] if n else np.empty((len(near), 0), dtype=np.int64)
        each = np.repeat(own + start, n)
        pairs.append(np.sort(np.stack([each, best.ravel()], axis=1), axis=1))
        cosines.append(near[each - start, best.ravel()])
    every, found = np.concatenate(pairs), np.concatenate(cosines).astype(np.float64)
    every, found = every[found > least_cosine], found[found > least_cosine]
    _, first = np.unique(every, axis=0, return_index=True)
    return every[first].astype(np.int64), found[first]


def groups_of(linked: Links, n: int, most: int) -> list[NDArray[np.int64]]:
    """Latents that hang together, largest group first, those without a link left out. Links are taken from the
    strongest on, and one that would make a group of more than `most` is passed over: without such they are the
    connected components."""
    parent, size = list(range(n)), [1] * n

    def root(latent: int) -> int:
        while parent[latent] != latent:
            parent[latent] = parent[parent[latent]]
            latent = parent[latent]
        return latent

    pairs, cosines = linked
    for number in np.argsort(-cosines, kind="stable"):
        a, b = (root(int(latent)) for latent in pairs[number])
        if a != b and size[a] + size[b] <= most:
            parent[b] = a
            size[a] += size[b]
    roots = np.array([root(latent) for latent in range(n)], dtype=np.int64)
    order = np.argsort(roots, kind="stable")
    each = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if n else []
    return sorted((one for one in each if len(one) > 1), key=lambda one: (-len(one), int(one[0])))
