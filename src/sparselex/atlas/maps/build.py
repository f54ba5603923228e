"""Lay the latents of a dictionary on a plane and write the map."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.layout import check_installed, clusters_of, placed
from sparselex.atlas.maps.records import KIND, NOT_PLACED, PLACES, SUMMARY, Cluster, LatentMap, MapSummary
from sparselex.atlas.maps.words import typical_words
from sparselex.base.files import write_json
from sparselex.base.staging import stage

N_WORDS = 6
"""Words of a cluster that are kept."""


def build_map(
    directions: Float[Tensor, "d_sae d_out"],
    n_active: NDArray[np.int64],
    said: Mapping[int, str],
    config: MapConfig,
    to: Path,
    *,
    inputs: Mapping[str, str],
) -> LatentMap:
    """Lay out the latents that are ever active and write their places and clusters to `to`; unchanged work is not done
    again.

    Args:
        directions: decoder rows, of several sites each in units of its own scale.
        n_active: `[d_sae]`, tokens on which each latent is active.
        said: explanations by latent, for the words of clusters.
        config: how.
        to: the artifact's folder.
        inputs: ids of what these came from.

    Raises `UserError` where a package is missing, and for fewer latents than can be laid out.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return LatentMap(to)
        check_installed(config)
        rows = directions.detach().cpu().float().numpy()
        written, active = np.linalg.norm(rows, axis=1) > 0, n_active > 0
        latents = np.flatnonzero(written & active)
        places = placed(rows[latents], config) if len(latents) else np.zeros((0, 2), dtype=np.float32)
        cluster = np.full(len(rows), NOT_PLACED, dtype=np.int32)
        cluster[latents] = clusters_of(rows[latents], places, config)
        summary = MapSummary(
            words=how(config, rows.shape[1]),
            clusters_by=where(config),
            n_placed=len(latents),
            n_silent=int((~active).sum()),
            n_zero=int((active & ~written).sum()),
            n_alone=int((cluster == -1).sum()),
            clusters=described(places, cluster, latents, said),
        )
        write_json(staging.folder / SUMMARY, summary.to_json())
        pq.write_table(table(latents, places, cluster[latents]), staging.folder / PLACES)
        staging.finish({"packages": packages(config)})
    return LatentMap(to)


def table(latents: NDArray, places: NDArray[np.float32], cluster: NDArray[np.int32]) -> pa.Table:
    """One row for each latent on the map."""
    return pa.table({"latent": latents.astype(np.int32), "x": places[:, 0], "y": places[:, 1], "cluster": cluster})


def described(
    places: NDArray[np.float32], cluster: NDArray[np.int32], latents: NDArray, said: Mapping[int, str]
) -> list[Cluster]:
    """The clusters that hold any of `latents`, at `places`; `cluster` is `[d_sae]`."""
    own, found = cluster[latents], []
    for number, words in enumerate(typical_words(cluster, said, N_WORDS)):
        if not (own == number).any():
            continue
        x, y = np.median(places[own == number], axis=0).tolist()
        found.append(Cluster(number=number, n=int((own == number).sum()), x=x, y=y, words=words))
    return found


def how(config: MapConfig, width: int) -> str:
    """How latents come to their places, in words."""
    if config.layout == "pca":
        return "the two directions in which decoder rows differ most (principal components)"
    cut = f", cut to {config.n_components} principal components" if width > config.n_components else ""
    return (
        f"UMAP of the decoder rows by cosine{cut}, {config.n_neighbors} neighbours, least distance "
        f"{config.min_dist:g}, seed {config.seed}: near is alike, far says little"
    )


def where(config: MapConfig) -> str:
    """Of what clusters are, in words."""
    if config.clusters == "plane":
        return "the plane (HDBSCAN)"
    laid = "the first ten principal components" if config.layout == "pca" else "UMAP in ten dimensions"
    return f"{laid} (HDBSCAN, {config.least_cluster} latents at least)"


def packages(config: MapConfig) -> dict[str, str]:
    """Versions of what places depend on."""
    return {name: version(name) for name in (["umap-learn"] if config.layout == "umap" else []) + ["scikit-learn"]}
