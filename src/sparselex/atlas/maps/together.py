"""Several dictionaries on one map as they lie on disk, and their read side. No tensors here: the browser reads it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.atlas.maps.records import KIND, ClusterWord
from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure

TOGETHER = "together.json"
"""The `Together` of a map of several dictionaries."""

ALL_PLACES = "together.parquet"
"""One row for each latent on it: run (its place among `Together.runs`), latent, x, y, cluster, place in the list."""


class MapRun(Config):
    """One of the dictionaries."""

    run: str
    """Its run."""

    index: str
    """Id of its index that was read."""

    n_latents: int
    """Its latents."""

    n_placed: int
    """Those on the map."""

    differs: str
    """How it was trained otherwise than the run that was asked about, in words; empty for that run."""


class JointCluster(Config):
    """Latents of any of the dictionaries that lie close together."""

    number: int
    """Its number; 0 is the largest."""

    n: int
    """How many latents."""

    of: dict[str, int]
    """How many of each run."""

    x: float
    """Middle of their places (median)."""

    y: float
    """Middle of their places (median)."""

    place: int
    """Its place in the list."""

    medoid_run: str
    """The run of the latent that is most like all of them."""

    medoid: int
    """That latent."""

    words: list[ClusterWord]
    """What is said of them more often than of others; empty where they are not explained."""


class Together(Config):
    """What a map of several dictionaries is."""

    words: str
    """How latents came to their places."""

    clusters_by: str
    """Of what clusters are."""

    runs: list[MapRun]
    """The dictionaries, the narrowest first."""

    n_alone: int
    """Latents on the map in no cluster."""

    clusters: list[JointCluster]
    """From the largest on."""

    figures: list[Figure]
    """What was measured, each beside its null."""

    @property
    def n_placed(self) -> int:
        """Latents on the map."""
        return sum(one.n_placed for one in self.runs)

    def number_of(self, run: str) -> int | None:
        """Which of the dictionaries a run is; None for another run."""
        return next((number for number, one in enumerate(self.runs) if one.run == run), None)


class JointMap:
    """A finished map of several dictionaries. Raises `UserError` if `path` is none or is damaged."""

    def __init__(self, path: Path):
        self.manifest = open_artifact(path, KIND)
        self.found = record_of(Together, path, TOGETHER)
        table = pyarrow.parquet.read_table(verified(path, ALL_PLACES, self.manifest))
        columns = {name: table[name].to_numpy() for name in table.column_names}
        self.run: NDArray[np.int8] = columns["run"]
        """`[n_placed]`, of which dictionary each is, ascending."""
        self.latents: NDArray[np.int32] = columns["latent"]
        """`[n_placed]`, their numbers, ascending within a dictionary."""
        self.places: NDArray[np.float32] = np.stack([columns["x"], columns["y"]], axis=1)
        """`[n_placed, 2]`, where they lie."""
        self.cluster: NDArray[np.int32] = columns["cluster"]
        """`[n_placed]`, their clusters; -1 for none."""
        self.place: NDArray[np.int32] = columns["place"]
        """`[n_placed]`, places in the list: of a latent in a cluster the cluster's."""

    @classmethod
    def at(cls, path: Path) -> "JointMap | None":
        """The map in a folder; None where it is of one dictionary alone. Raises like the class itself."""
        return cls(path) if TOGETHER in open_artifact(path, KIND).files else None

    def row(self, number: int, latent: int) -> int | None:
        """The row of a latent of a dictionary; None for one that is not on the map."""
        low, high = np.searchsorted(self.run, [number, number + 1]).tolist()
        row = low + int(np.searchsorted(self.latents[low:high], latent))
        return row if row < high and self.latents[row] == latent else None
