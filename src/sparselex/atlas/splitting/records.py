"""What was found of splitting as it lies on disk, and its read side. No tensors here: the browser reads it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "splitting"
"""Kind of the artifact."""

FILE = "splitting.json"
"""Its `SplitGraph`."""


class Level(Config):
    """One dictionary of the graph."""

    run: str
    """Its run."""

    index: str
    """Id of its index that was read."""

    n_latents: int
    """Its latents."""

    differs: str
    """How it was trained otherwise than the run that was asked about, in words; empty for that run."""


class Step(Config):
    """From one dictionary to the next wider one."""

    narrow: str
    """Run of the narrow one."""

    wide: str
    """Run of the wide one."""

    n_narrow: int
    """Its latents that are active often enough to be linked."""

    n_wide: int
    """Those of the wide one."""

    n_links: int
    """Links between them that hold."""

    n_tokens: int
    """Tokens on which links were found."""

    n_judged: int
    """Tokens on which they had to hold."""

    n_documents: int
    """Documents that these are of."""

    spread: dict[int, int]
    """How many narrow latents are linked to so many wide ones, by that number."""

    spread_null: dict[int, int]
    """The same under the null."""

    figures: list[Figure]
    """What was measured, each beside its null."""

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, without what stands before it."""
        return next((one for one in self.figures if one.name.rpartition("/")[2] == name), None)


class SplitGraph(Config):
    """Dictionaries of one place, ordered by width, and what latents of each become in the next."""

    least_link: float
    """How alike two latents must be to be linked."""

    close_link: float
    """How alike they must be to be close."""

    levels: list[Level]
    """The dictionaries, the narrowest first."""

    steps: list[Step]
    """From each to the next."""

    def level_of(self, run: str) -> int | None:
        """Which level a run is; None for another run."""
        return next((number for number, level in enumerate(self.levels) if level.run == run), None)


class Relatives(NamedTuple):
    """Latents that one is linked to, the strongest link first."""

    latent: NDArray[np.int32]
    link: NDArray[np.float32]


class Graph:
    """A finished graph. Raises `UserError` if `path` is none or is damaged."""

    def __init__(self, path: Path):
        self.manifest = open_artifact(path, KIND)
        self.found = record_of(SplitGraph, path, FILE)
        self._path, self._tables = path, dict[str, dict[str, NDArray]]()
        self._by_wide = dict[int, NDArray]()

    def latents(self, level: int) -> dict[str, NDArray]:
        """Columns over all latents of a dictionary: `children` (wider ones that it is linked to), `led` (those of them
        to which it is the strongest link) and `parents`; -1 where it was not looked at."""
        return self._table(f"latents-{level}")

    def links(self, step: int) -> dict[str, NDArray]:
        """Columns over all links from one dictionary to the next: `narrow`, `wide`, `link` on test documents,
        ordered by `narrow`, then by `link`, the strongest first."""
        return self._table(f"links-{step}")

    def children(self, level: int, latent: int) -> Relatives:
        """Wider latents that one of a level becomes."""
        if level >= len(self.found.steps):
            return _NONE
        links = self.links(level)
        rows = slice(*np.searchsorted(links["narrow"], [latent, latent + 1]).tolist())
        return Relatives(links["wide"][rows], links["link"][rows])

    def parents(self, level: int, latent: int) -> Relatives:
        """Narrower latents that become one of a level."""
        if level == 0:
            return _NONE
        links = self.links(level - 1)
        if level not in self._by_wide:
            self._by_wide[level] = np.lexsort((-links["link"], links["wide"]))
        order = self._by_wide[level]
        rows = order[slice(*np.searchsorted(links["wide"][order], [latent, latent + 1]).tolist())]
        return Relatives(links["narrow"][rows], links["link"][rows])

    def _table(self, name: str) -> dict[str, NDArray]:
        if name not in self._tables:
            table = pyarrow.parquet.read_table(verified(self._path, f"{name}.parquet", self.manifest))
            self._tables[name] = {column: table[column].to_numpy() for column in table.column_names}
        return self._tables[name]


_NONE = Relatives(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
