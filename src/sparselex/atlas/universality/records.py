"""What was found of universality as it lies on disk, and its read side. No tensors here: the browser reads it."""

from pathlib import Path

import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "universality"
"""Kind of the artifact."""

FILE = "universality.json"
"""Its `Universality`."""

PAPER = {"features": 0.72, "neurons": 0.46}
"""Medians that the 2023 paper gives of these figures, for 4,096 latents on two one-layer models."""


class OtherRun(Config):
    """What one other run says of the latents of a run."""

    run: str
    """Its name."""

    index: str
    """Id of its index that was read."""

    model: str
    """The model that it reads."""

    same_model: bool
    """Whether that is the run's own model, with the same weights: then what is shared is no sign that models share
    it."""

    differs: str
    """What it has otherwise, in words."""

    n_latents: int
    """Its latents."""

    n_compared: int
    """Latents of the run that are active often enough on tokens that both counted."""

    n_chosen: int
    """Tokens on which matches were chosen."""

    n_judged: int
    """Tokens on which they were judged."""

    n_documents: int
    """Documents that these are of."""

    missing: dict[str, str] = {}
    """What was not measured, and why: `neurons`, `attribution`."""

    figures: list[Figure]
    """What was measured, each beside its null."""

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, without what stands before it; None where it was not measured."""
        return next((one for one in self.figures if one.name == f"{KIND}/{self.run}/{name}"), None)


class Universality(Config):
    """Which latents of a run are there again in others."""

    index: str
    """Id of the run's index that was read."""

    model: str
    """The model that the run reads."""

    n_latents: int
    """Its latents."""

    others: list[OtherRun]
    """The runs that it was held against."""

    def other(self, run: str) -> OtherRun | None:
        """What one of them says; None of a run that it was not held against."""
        return next((one for one in self.others if one.run == run), None)


class Universal:
    """A finished measurement. Raises `UserError` if `path` is none or is damaged."""

    def __init__(self, path: Path):
        self.manifest = open_artifact(path, KIND)
        self.found = record_of(Universality, path, FILE)
        self._path, self._tables = path, dict[str, dict[str, NDArray]]()

    def latents(self, other: str) -> dict[str, NDArray]:
        """Columns over all latents of the run: `match` (the nearest latent of the other run; -1 for none), `r` (their
        correlation on test documents), `r_chosen` (on the training documents on which it was chosen), `null`,
        `mutual`, and where they were measured `neuron` and `neuron_r` (the nearest neuron of the other model),
        `attribution`, `attribution_null`, `logit` and `logit_null`. NaN for latents that are too rare."""
        return self._table(f"latents-{other}")

    def neurons(self, other: str) -> dict[str, NDArray]:
        """Columns over all neurons of the model: `match`, `r`, `r_chosen` and `null` as for latents, and `latent` and
        `latent_r`, the nearest latent of the other run; empty where neurons were not compared."""
        return self._table(f"neurons-{other}")

    def _table(self, name: str) -> dict[str, NDArray]:
        if name not in self._tables:
            table = pyarrow.parquet.read_table(verified(self._path, f"{name}.parquet", self.manifest))
            self._tables[name] = {column: table[column].to_numpy() for column in table.column_names}
        return self._tables[name]
