"""Decoder rows in, places on a plane out; and which of these lie close together."""

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.config import MapConfig
from sparselex.base.errors import UserError

Floats32 = NDArray[np.float32]

FEWEST = 16
"""Latents below which UMAP has nothing to lay out."""

_N_DIMS, _APART = 10, 0.1
"""Dimensions in which the 2023 paper looks for clusters, and how near UMAP may put two latents there."""


def check_installed(config: MapConfig) -> None:
    """Raise `UserError` where a package is missing that the layout needs."""
    wanted = {"sklearn": "scikit-learn"} | ({"umap": "umap-learn"} if config.layout == "umap" else {})
    missing = [package for module, package in wanted.items() if find_spec(module) is None]
    if missing:
        other = ", or lay the map out with `--layout pca`" if missing == ["umap-learn"] else ""
        raise UserError(
            f"A map was asked for, and the package `{'`, `'.join(missing)}` is not installed.",
            f"{' and '.join(missing)}, which sparselex needs for maps only",
            f"run `pip install sparselex[umap]`{other}.",
        )


def placed(rows: Floats32, config: MapConfig, n_dims: int = 2, min_dist: float | None = None) -> Floats32:
    """`[n, n_dims]`, a place for each of the `[n, d]` rows, none of which is zero: by cosine (UMAP, McInnes et al.
    2018, arXiv:1802.03426), `min_dist` apart where that is given, or the first principal components.

    Rows count by their direction alone. Wider ones than `n_components` are cut to as many principal components before:
    neighbours are found by their cosine there. One thread and a seed: equal rows give equal bytes on one machine.
    Raises `UserError` for fewer rows than UMAP can lay out.
    """
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if config.layout == "pca":
        return components(unit, n_dims)
    if len(rows) < FEWEST:
        raise UserError(
            f"There are {len(rows)} latents to be laid out.", f"{FEWEST} at least", "lay them out with `--layout pca`."
        )
    narrow = components(unit, config.n_components) if unit.shape[1] > config.n_components else unit
    return _umap(narrow, config, n_dims, config.min_dist if min_dist is None else min_dist)


def clusters_of(rows: Floats32, places: Floats32, config: MapConfig) -> NDArray[np.int32]:
    """`[n]`, the cluster of each of the `[n, d]` rows that lie at `[n, 2]` places, as `clusters` finds them: on the
    plane, or in ten dimensions, into which rows are laid once more."""
    within = places if config.clusters == "plane" or not len(rows) else placed(rows, config, _N_DIMS, _APART)
    return clusters(within, config.least_cluster)


def components(unit: Floats32, n: int) -> Floats32:
    """`[n_rows, n]`, principal components of rows, the largest first, with zeros where there are fewer; each with the
    sign that makes the largest entry of its direction positive."""
    centred = unit - unit.mean(0, dtype=np.float64)
    vectors = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :n]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    found = np.zeros((len(unit), n), dtype=np.float32)
    found[:, : vectors.shape[1]] = centred @ vectors
    return found


def _umap(rows: Floats32, config: MapConfig, n_dims: int, min_dist: float) -> Floats32:
    with warnings.catch_warnings():
        # Of graphs in several pieces, of spectral starts that are replaced, and of numba's own future.
        warnings.simplefilter("ignore")
        import umap

        found = umap.UMAP(
            n_neighbors=min(config.n_neighbors, len(rows) - 1),
            min_dist=min_dist,
            n_components=n_dims,
            metric="cosine",
            random_state=config.seed,
            n_jobs=1,
        ).fit_transform(rows)
    return np.ascontiguousarray(found, dtype=np.float32)


def clusters(places: Floats32, least: int) -> NDArray[np.int32]:
    """`[n]`, the cluster of each place, numbered from the largest on; -1 for what lies in none. HDBSCAN (Campello et
    al. 2013) by scikit-learn; of places on the plane, clusters are those that one sees."""
    if len(places) < 2 * least:
        return np.full(len(places), -1, dtype=np.int32)
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(places.astype(np.float64))
    sizes = np.bincount(found[found >= 0])
    rank = np.empty(len(sizes) + 1, dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes), dtype=np.int32)
    rank[-1] = -1
    return rank[found]
