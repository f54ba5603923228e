"""Shades of a map: which of a few steps each latent's value is in, and the words of the legend."""

import itertools
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.maps.records import LatentMap
from sparselex.base.formats import number, percent
from sparselex.server.finding.columns import Columns

Shade = Literal["density", "score", "cluster", "effect", "max"]
"""What a map may be coloured by."""

N_STEPS = 6
"""Steps of a scale."""

N_HUES = 6
"""Colours that clusters take in turn; their numbers stand on the map as well."""


class Shades(NamedTuple):
    """The steps of the latents on a map."""

    values: NDArray[np.float64]
    """`[n_placed]`, what they have; NaN for what is not known."""

    step: NDArray[np.uint8]
    """`[n_placed]`, from 1 on; 0 for what is not known or in no cluster."""

    labels: list[str]
    """The steps in words, those of 0 first."""


def shades(found: LatentMap, columns: Columns, shade: Shade) -> Shades:
    """What each latent on the map has, in steps. Shares and scores have fixed steps, so that two maps can be compared;
    what has a unit of its own has steps with equally many latents."""
    if shade == "cluster":
        step = np.where(found.cluster < 0, 0, found.cluster % N_HUES + 1).astype(np.uint8)
        return Shades(np.where(found.cluster < 0, np.nan, found.cluster), step, [])
    values = columns.number(shade)[found.latents]
    edges, known = _edges(values, shade), np.isfinite(values)
    step = np.where(known, np.searchsorted(edges, np.nan_to_num(values), side="right") + 1, 0).astype(np.uint8)
    shown = [percent(edge) if shade == "density" else number(edge, 2) for edge in edges]
    within = [f"{low} to {high}" for low, high in itertools.pairwise(shown)]
    labels = [f"below {shown[0]}", *within, f"{shown[-1]} and more"] if shown else ["all"]
    return Shades(values, step, [_UNKNOWN[shade], *labels])


_UNKNOWN = {"density": "not known", "score": "not scored", "effect": "not measured", "max": "not known"}


_FIXED: dict[Shade, list[float]] = {"density": [1e-4, 1e-3, 1e-2, 0.1], "score": [0.2, 0.4, 0.6, 0.8]}
"""Edges of what is the same everywhere."""


def _edges(values: NDArray[np.float64], shade: Shade) -> list[float]:
    known = values[np.isfinite(values)]
    # A score that is neither a share nor a correlation, such as a gain in nats, has a unit of its own.
    if not len(known) or (shade in _FIXED and np.abs(known).max() <= 1):
        return _FIXED.get(shade, [])
    return np.unique(np.quantile(known, np.arange(1, N_STEPS) / N_STEPS)).tolist()
