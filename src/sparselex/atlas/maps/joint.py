"""What clusters of several dictionaries have in common, and what they would have by chance. Arrays in, numbers out."""

from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from sparselex.atlas.maps.layout import Floats32

_ROWS = 1024
"""Narrow latents whose neighbours are looked for at a time."""


def nearest(narrow: Floats32, wide: Floats32, n: int) -> NDArray[np.int64]:
    """`[n_narrow, n]`, the `n` wide rows of the largest cosine of each narrow one, the nearest first. Both are of unit
    length."""
    found = []
    for start in range(0, len(narrow), _ROWS):
        cosines = narrow[start : start + _ROWS] @ wide.T
        best = np.argpartition(-cosines, min(n, cosines.shape[1] - 1), axis=1)[:, :n]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found) if found else np.zeros((0, n), dtype=np.int64)


def same_by_chance(narrow: NDArray[np.int32], wide: NDArray[np.int32]) -> float:
    """The share of narrow latents in the cluster of a wide one, in the mean over all ways to shuffle the clusters of
    either among its latents; latents in no cluster (-1) are with none."""
    n = 1 + int(max(narrow.max(initial=-1), wide.max(initial=-1)))
    sizes = [np.bincount(one[one >= 0], minlength=n) for one in (narrow, wide)]
    return float(sizes[0] @ sizes[1]) / max(1, len(narrow) * len(wide))


def of_all_by_chance(sizes: NDArray[np.int64], of_run: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[n_clusters]`, the chance that a cluster holds latents of every run, in the mean over all ways to shuffle which
    latent is of which run.

    Args:
        sizes: `[n_clusters]`, latents in each.
        of_run: `[n_runs]`, latents of each run in any cluster; together as many as all `sizes`.

    By inclusion and exclusion: a cluster lacks a set of runs where all of it is drawn from the others.
    """
    total = int(of_run.sum())
    found = np.zeros(len(sizes))
    for n_lacking in range(len(of_run) + 1):
        for lacking in combinations(range(len(of_run)), n_lacking):
            left = total - int(of_run[list(lacking)].sum())
            fits = sizes <= left
            log = np.where(fits, _log_ways(np.maximum(left, sizes), sizes) - _log_ways(total, sizes), -np.inf)
            found += (-1) ** n_lacking * np.exp(log)
    return np.clip(found, 0.0, 1.0)


def _log_ways(n: NDArray[np.int64] | int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logarithm of the ways to draw `k` of `n`."""
    return gammaln(np.asarray(n) + 1.0) - gammaln(k + 1.0) - gammaln(np.asarray(n) - k + 1.0)


def medoids(unit: Floats32, cluster: NDArray[np.int32]) -> NDArray[np.int64]:
    """`[n_clusters]`, the row of each cluster with the largest mean cosine to all of it."""
    order = np.argsort(cluster, kind="stable")
    borders = np.searchsorted(cluster[order], np.arange(int(cluster.max(initial=-1)) + 2))
    members = (order[low:high] for low, high in pairwise(borders))
    return np.array([rows[np.argmax(unit[rows] @ unit[rows].sum(0))] for rows in members], dtype=np.int64)


def listed(line: Floats32, cluster: NDArray[np.int32], middle: NDArray[np.int64]) -> NDArray[np.int32]:
    """`[n]`, the place of each latent in the list, that of its cluster where it is in one.

    Args:
        line: `[n_alone + n_clusters]`, where on a line lies what is in no cluster, in its order, and each medoid.
        cluster: `[n]`, cluster of each; -1 for none.
        middle: `[n_clusters]`, rows of the medoids.
    """
    rank = np.empty(len(line), dtype=np.int32)
    rank[np.argsort(line, kind="stable")] = np.arange(len(line), dtype=np.int32)
    n_alone, found = len(line) - len(middle), np.empty(len(cluster), dtype=np.int32)
    found[cluster < 0] = rank[:n_alone]
    found[cluster >= 0] = rank[n_alone:][cluster[cluster >= 0]]
    return found
