"""A map as it lies on disk, and its read side. No tensors here: the browser reads it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config

KIND = "map"
"""Kind of the artifact, and name of its folder."""

SUMMARY = "map.json"
"""Its `MapSummary`."""

PLACES = "map.parquet"
"""One row for each latent on the map: latent, x, y, cluster."""

NOT_PLACED = -2
"""Cluster of a latent that is not on the map."""


class ClusterWord(Config):
    """A word that is typical of a cluster."""

    word: str
    """In small letters."""

    share: float
    """Share of the cluster's explanations in which it stands."""

    share_of_all: float
    """Share of all explanations on the map in which it stands."""


class Cluster(Config):
    """Latents that lie close together."""

    number: int
    """Its number; 0 is the largest."""

    n: int
    """How many latents."""

    x: float
    """Middle of their places (median)."""

    y: float
    """Middle of their places (median)."""

    words: list[ClusterWord]
    """What is said of them more often than of others; empty where they are not explained."""


class MapSummary(Config):
    """What a map is."""

    words: str
    """How latents came to their places."""

    n_placed: int
    """Latents on the map."""

    n_silent: int
    """Latents left out as never active: nothing holds their direction anywhere."""

    n_zero: int
    """Latents left out as their decoder row is zero."""

    n_alone: int
    """Latents on the map in no cluster."""

    clusters: list[Cluster]
    """From the largest on; of a map of several dictionaries those that hold latents of this one, which are counted."""

    clusters_by: str = "the plane (HDBSCAN)"
    """Of what clusters are."""

    together: list[str] = []
    """Runs whose dictionaries lie on the same map; none where it is of one alone."""


class LatentMap:
    """A finished map. Raises `UserError` if `path` is none or is damaged."""

    def __init__(self, path: Path):
        self.manifest = open_artifact(path, KIND)
        self.summary = record_of(MapSummary, path, SUMMARY)
        table = pyarrow.parquet.read_table(verified(path, PLACES, self.manifest))
        columns = {name: table[name].to_numpy() for name in table.column_names}
        self.latents: NDArray[np.int32] = columns["latent"]
        """`[n_placed]`, ascending: the latents on the map."""
        self.places: NDArray[np.float32] = np.stack([columns["x"], columns["y"]], axis=1)
        """`[n_placed, 2]`, where they lie."""
        self.cluster: NDArray[np.int32] = columns["cluster"]
        """`[n_placed]`, their clusters; -1 for none."""

    def row(self, latent: int) -> int | None:
        """The row of a latent; None for one that is not on the map."""
        row = int(np.searchsorted(self.latents, latent))
        return row if row < len(self.latents) and self.latents[row] == latent else None
