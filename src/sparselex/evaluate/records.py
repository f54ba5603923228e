"""Evaluations as they lie on disk. No tensors here: report and browser read these."""

from pathlib import Path

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figures
from sparselex.base.files import write_json

DENSITY = "density.json"
"""File of an evaluation that holds its `DensityHistogram`."""


class DensityHistogram(Config):
    """How many latents are active how often."""

    edges: list[float]
    """log10 of the density on test documents at the edges of the bins."""

    counts: list[int]
    """Latents in each bin; those that are never active are in none."""

    n_dead: int
    """Latents never active on test documents."""

    @classmethod
    def read(cls, folder: Path) -> "DensityHistogram":
        """That of the evaluation `folder`. Raises `UserError` if it is missing or damaged."""
        return record_of(cls, folder, DENSITY)


class Evaluation(Figures):
    """One dictionary judged: its figures beside those of control dictionaries, and how its latents are spread."""

    density: DensityHistogram
    """Densities of the dictionary's latents over the counted tokens of test documents."""

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """The evaluation in the artifact `folder`. Raises `UserError` if a file of it is missing or damaged."""
        return cls(**dict(Figures.read(folder)), density=DensityHistogram.read(folder))

    def write(self, folder: Path) -> None:
        """Put its figures and densities into the folder of an artifact in progress, a file each."""
        super().write(folder)
        write_json(folder / DENSITY, self.density.to_json())
