"""Latents held against neurons, as they lie on disk: plain values, read by pages without PyTorch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, record_of, verified
from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "neurons"
"""Kind of the artifact, and name of its folder."""

FILE = "neurons.json"
"""Its `Neurons`."""

ARRAYS = ("places", "coefficients", "n_large", "spread")
"""Its arrays, a row a latent: the coordinates with the largest coefficients, these, how many are large, and over how
many coordinates the direction is spread."""


class LatentNeurons(Config):
    """One latent held against neurons."""

    latent: int
    """Its number."""

    n_large: int
    """Coefficients of its direction that are large."""

    spread: float
    """Over how many coordinates its direction is spread: 1 for one neuron, the width for all alike (participation
    ratio, 1 / Σ d⁴ at unit length)."""

    coefficients: list[tuple[int, float]]
    """The largest by size: coordinate and coefficient."""


class Neurons(Config):
    """A dictionary held against neurons."""

    width: int
    """Coordinates of what it writes to."""

    large_from: float
    """Size from which a coefficient is large."""

    n_alive: int
    """Latents that are ever active."""

    figures: list[Figure]
    """Over living latents."""

    most: list[LatentNeurons]
    """Living latents that are most like one neuron."""

    least: list[LatentNeurons]
    """Those whose direction is spread over most coordinates."""


class NeuronRows(NamedTuple):
    """What is known of every latent."""

    found: Neurons
    arrays: dict[str, NDArray]

    @classmethod
    def read(cls, folder: Path) -> "NeuronRows":
        """Those of the artifact `folder`. Raises `UserError` if it is damaged."""
        manifest = open_artifact(folder, KIND)
        arrays = {name: np.load(verified(folder, f"{name}.npy", manifest), mmap_mode="r") for name in ARRAYS}
        return cls(record_of(Neurons, folder, FILE), arrays)

    def of(self, latent: int) -> LatentNeurons:
        """One latent."""
        return row_of(self.arrays, latent)


def row_of(arrays: dict[str, NDArray], latent: int) -> LatentNeurons:
    """One latent of the arrays."""
    pairs = zip(arrays["places"][latent].tolist(), arrays["coefficients"][latent].tolist(), strict=True)
    return LatentNeurons(
        latent=latent,
        n_large=int(arrays["n_large"][latent]),
        spread=float(arrays["spread"][latent]),
        coefficients=[(place, coefficient) for place, coefficient in pairs if coefficient],
    )
