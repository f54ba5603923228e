"""Evaluations as they lie on disk. No tensors here: report and browser read these."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure


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
