"""What one group of latents reconstructs, as clouds of points in planes. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sparselex.evaluate.manifolds.indices import Cloud, mixture_index, normalised, separability_index

_LEAST_SHARE = 1e-6
"""Variance, of the largest component's, below which a component is rounding."""


class Window(NamedTuple):
    """A cloud in one plane."""

    components: tuple[int, int]
    """Numbers of its principal components, from 1."""

    points: Cloud
    """Where tokens lie, with zero mean and unit mean square."""

    mixture: float
    """The mixture index."""

    separability: float
    """The separability index, in bits."""

    @property
    def score(self) -> float:
        """What windows are ranked by: high where it is neither a mixture nor a product."""
        return (1 - self.mixture) * self.separability


def windows(x: Float[NDArray[np.float64], "n d"], n_components: int, rng: np.random.Generator) -> list[Window]:
    """The planes of neighbouring principal components of a group's reconstructions, with both indices."""
    return [_window(pair, points, rng) for pair, points in planes(x, n_components)]


def planes(x: Float[NDArray[np.float64], "n d"], n_components: int) -> list[tuple[tuple[int, int], Cloud]]:
    """The same without the indices."""
    about = x - x.mean(0)
    _, sizes, directions = np.linalg.svd(about, full_matrices=False)
    n = min(n_components, int((np.square(sizes) > _LEAST_SHARE * np.square(sizes).max(initial=0.0)).sum()))
    along = about @ directions[:n].T
    return [((place + 1, place + 2), along[:, place : place + 2]) for place in range(n - 1)]


def gaussian_like(points: Cloud, rng: np.random.Generator) -> Cloud:
    """A normal cloud of as many points with the same covariance: what both indices are of no structure at all."""
    covariance = np.cov(points.T, bias=True)
    return rng.multivariate_normal(np.zeros(2), covariance, size=len(points), method="svd")


def _window(pair: tuple[int, int], points: Cloud, rng: np.random.Generator) -> Window:
    points = normalised(points)
    mixture = mixture_index(points, int(rng.integers(2**31)))
    return Window(pair, points, mixture, separability_index(points, rng))


def best_of(found: list[Window]) -> Window | None:
    """The window with the highest score; None where there is none."""
    return max(found, key=lambda one: one.score, default=None)


def of_cloud(points: Cloud, rng: np.random.Generator) -> Window:
    """Both indices of points that are in a plane already."""
    return _window((1, 2), points, rng)
