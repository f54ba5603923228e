"""Evaluations as they lie on disk. No tensors here: report and browser read these."""

from pathlib import Path

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figures
from sparselex.base.files import write_json

INFLUENCES = "influences.json"
"""File of an evaluation that holds its `Influences`."""

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


class Influences(Config):
    """What figures owe to each document: two dictionaries that were measured on the same ones are compared by it."""

    documents: list[str]
    """Names of the test documents."""

    subjects: dict[str, dict[str, list[float]]]
    """By subject (the dictionary under the empty name, controls under theirs) and figure, a number for each document;
    their squares sum to the figure's variance."""

    def of(self, subject: str, figure: str) -> list[float] | None:
        """Those of one figure; None where they are not known."""
        return self.subjects.get(subject, {}).get(figure)

    @classmethod
    def read(cls, folder: Path) -> "Influences":
        """Those of the evaluation `folder`. Raises `UserError` if they are missing or damaged."""
        return record_of(cls, folder, INFLUENCES)


class Evaluation(Figures):
    """One dictionary judged: its figures beside those of control dictionaries, and how its latents are spread."""

    density: DensityHistogram
    """Densities of the dictionary's latents over the counted tokens of test documents."""

    influences: Influences
    """What its figures, and those of control dictionaries, owe to each document."""

    @classmethod
    def read(cls, folder: Path) -> "Evaluation":
        """The evaluation in the artifact `folder`. Raises `UserError` if a file of it is missing or damaged."""
        return cls(
            **dict(Figures.read(folder)), density=DensityHistogram.read(folder), influences=Influences.read(folder)
        )

    def write(self, folder: Path) -> None:
        """Put its figures, densities and influences into the folder of an artifact in progress, a file each."""
        super().write(folder)
        write_json(folder / INFLUENCES, self.influences.to_json())
        write_json(folder / DENSITY, self.density.to_json())
