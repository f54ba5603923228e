"""What was found of relatives as it lies on disk, and its read side. No tensors here: the browser reads it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.atlas.splitting.records import Level
from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "relatives"
"""Kind of the artifact."""

FILE = "relatives.json"
"""Its `Kinship`."""

PAIRS = "pairs.parquet"
"""Its pairs of relatives."""

NOWHERE = -1
"""Position of a text that was not found."""


class Among(Config):
    """What was found between a run's latents and those of one dictionary."""

    run: str
    """The run of that dictionary; the run itself for relatives among its own latents."""

    n_own: int
    """Latents of the run that are active often enough."""

    n_other: int
    """Those of the other."""

    n_pairs: int
    """Pairs of relatives that hold."""

    n_texts: int
    """Those of them for which two texts were found."""

    n_tokens: int
    """Tokens on which relatives were found."""

    n_judged: int
    """Tokens on which they had to hold, among which texts are."""

    n_documents: int
    """Documents that these are of."""

    figures: list[Figure]
    """What was measured, each beside its null."""

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, without what stands before it."""
        return next((one for one in self.figures if one.name.rpartition("/")[2] == name), None)


class Kinship(Config):
    """Narrower and wider relatives of a run's latents."""

    least_contained: float
    """On how many of a latent's tokens a wider relative is active, once chance is taken off."""

    least_ratio: float
    """On how many times as many tokens it is active."""

    n_before: int
    """Tokens before the active one by which texts are held against each other."""

    least_told: int
    """Places of either kind that it takes to say whether a difference tells two latents apart."""

    dictionaries: list[Level]
    """The run's own first."""

    among: list[Among]
    """What was found in each."""

    def number_of(self, run: str) -> int | None:
        """Which dictionary is of a run; None for another run."""
        return next((number for number, one in enumerate(self.dictionaries) if one.run == run), None)


class Kin(NamedTuple):
    """A latent and a wider one on whose tokens alone it is active, and two texts that tell them apart."""

    narrow_of: int
    """Which dictionary the narrower latent is of."""

    narrow: int
    """The narrower latent."""

    wide_of: int
    """Which dictionary the wider one is of."""

    wide: int
    """The wider latent."""

    contained: float
    """Share of the narrower one's tokens in test documents on which the wider one is active."""

    chance: float
    """Share of all tokens on which the wider one is active."""

    ratio: float
    """On how many times as many tokens the wider one is active."""

    link: float
    """How alike the two are where one of them is active, as `analyse splitting` has it."""

    both: int
    """Position in the corpus of the text at which both are active; -1 where no texts were found or sought."""

    only: int
    """Position of the one at which only the wider one is."""

    differing: int
    """In how many tokens, up to the active one, the two texts differ; -1 for no texts."""

    back: int
    """How many tokens before the active one the token stands that tells them apart; 0 for that itself, -1 for no
    texts."""

    at_random: float
    """In how many two such places differ at random; NaN for no texts."""

    told: float
    """Of the places of other test documents about which that token says anything, how many it tells rightly, the
    mean of both kinds: 1/2 for nothing; NaN where there are too few."""

    told_null: float
    """The same of texts that were chosen with the narrower one's activations dealt out anew among the wider one's."""

    n_told: int
    """Of how many places it says anything."""

    covered: float
    """Of what share of the wider one's places; NaN for no texts."""

    @property
    def has_texts(self) -> bool:
        """Whether two texts were found."""
        return self.both != NOWHERE


class Relatives:
    """Finished relatives. Raises `UserError` if `path` holds none or is damaged."""

    def __init__(self, path: Path):
        self.manifest = open_artifact(path, KIND)
        self.found = record_of(Kinship, path, FILE)
        table = pyarrow.parquet.read_table(verified(path, PAIRS, self.manifest))
        self.columns: dict[str, NDArray] = {name: table[name].to_numpy() for name in table.column_names}
        """Of all pairs, by the names that `Kin` has."""

    def __len__(self) -> int:
        return len(self.columns["narrow"])

    def at(self, row: int) -> Kin:
        """One pair."""
        return Kin(*(self.columns[name][row].item() for name in Kin._fields))

    def wider(self, of: int, latent: int) -> NDArray[np.int64]:
        """Rows of the wider relatives of a latent of a dictionary, the strongest link first."""
        return self._ordered((self.columns["narrow_of"] == of) & (self.columns["narrow"] == latent))

    def narrower(self, of: int, latent: int) -> NDArray[np.int64]:
        """Rows of its narrower relatives."""
        return self._ordered((self.columns["wide_of"] == of) & (self.columns["wide"] == latent))

    def _ordered(self, there: NDArray[np.bool_]) -> NDArray[np.int64]:
        rows = np.flatnonzero(there)
        return rows[np.argsort(-self.columns["link"][rows], kind="stable")]
