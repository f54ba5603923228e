"""Evaluations as they lie on disk. No tensors here: report and browser read these."""

from typing import Any

from sparselex.base.config import Config
from sparselex.base.records import Figure


class DensityHistogram(Config):
    """How many latents are active how often."""

    edges: list[float]
    """log10 of the density at the edges of the bins."""

    counts: list[int]
    """Latents in each bin; dead latents are in none."""

    n_dead: int
    """Latents never active."""


class Evaluation(Config):
    """The figures of one run."""

    figures: list[Figure]
    """Figures of the dictionary."""

    baselines: dict[str, list[Figure]]
    """The same figures of control dictionaries on the same activations, by control."""

    density: DensityHistogram
    """Densities of the dictionary's latents over all counted tokens."""


class SweepRow(Config):
    """One dictionary of a sweep."""

    name: str
    """Its name inside the sweep."""

    hook: str
    """Where the model is read."""

    settings: dict[str, Any]
    """Its type, width and sparsity."""

    seed: int
    """Seed of its weights."""

    figures: list[Figure] = []
    """Core figures on test documents, and its share of dead latents."""

    fronts: list[str] = []
    """Figures by which no other dictionary on this hook has a better value at the same L0 or less."""

    failure: str | None = None
    """Why there is no dictionary."""

    def value(self, name: str) -> float | None:
        """The value of a figure, None where it was not measured."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


class SweepReport(Config):
    """What `sweep.json` holds."""

    rows: list[SweepRow]
    """Every dictionary, in the order of the sweep."""

    baselines: dict[str, list[Figure]]
    """By `<hook>/<name>`: principal components with as many coefficients as the sweep's dictionaries have active latents."""

    stability: list[Figure]
    """For dictionaries that differ in their seed alone."""
