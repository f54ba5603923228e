"""One cluster or two: arrays in, labels and the depth of the valley between both out."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.stats import gaussian_kde
from sklearn.mixture import GaussianMixture

LEAST_LATENTS = 50
"""Points below which no two clusters are looked for."""

_LEAST_SHARE = 0.01
"""Share of the points that either cluster must have: fewer are no peak but a few stragglers."""

_GRID = 256
_MOST_FITTED = 4000


class Split(NamedTuple):
    """Points divided in two."""

    low: Bool[NDArray, " n"]
    """Those of the cluster whose first coordinate is lower."""

    depth: float
    """How much lower the valley between both peaks is than the lower peak, as a share of it; 0 where there is one."""


def split(x: Float[NDArray[np.float64], "n d"], rng: np.random.Generator) -> Split:
    """Divide points in two by a mixture of two normal distributions, and look along the line that tells these apart
    best (Fisher's discriminant) whether their density has two peaks."""
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)
    some = z if len(z) <= _MOST_FITTED else z[rng.choice(len(z), _MOST_FITTED, replace=False)]
    mixture = GaussianMixture(2, n_init=2, reg_covar=1e-4, random_state=int(rng.integers(2**31))).fit(some)
    labels = mixture.predict(z)
    share = labels.mean()
    if not _LEAST_SHARE <= share <= 1 - _LEAST_SHARE:
        return Split(np.zeros(len(x), dtype=bool), 0.0)
    middles = [float(np.median(x[labels == one, 0])) for one in (0, 1)]
    low = labels == int(np.argmin(middles))
    return Split(low, _valley(z, low))


def drawn_depths(
    x: Float[NDArray[np.float64], "n d"], n_draws: int, rng: np.random.Generator
) -> Float[NDArray[np.float64], " n_draws"]:
    """The same depth in clouds of one normal distribution with the points' covariance, of as many points each."""
    n, covariance = len(x), np.cov(x.T).reshape(x.shape[1], x.shape[1])
    size = min(n, _MOST_FITTED)
    draws = (rng.multivariate_normal(x.mean(0), covariance, size, method="svd") for _ in range(n_draws))
    return np.array([split(draw, rng).depth for draw in draws])


def _valley(z: NDArray[np.float64], low: NDArray[np.bool_]) -> float:
    """The density along the discriminant, from the middle of one cluster to that of the other."""
    below, above = z[low], z[~low]
    within = np.cov(below.T).reshape(z.shape[1], -1) * len(below) + np.cov(above.T).reshape(z.shape[1], -1) * len(above)
    axis = np.linalg.solve(within / len(z) + 1e-6 * np.eye(z.shape[1]), above.mean(0) - below.mean(0))
    along = z @ axis
    ends = np.median(along[low]), np.median(along[~low])
    if ends[0] >= ends[1]:
        return 0.0
    # Each cluster's own width decides how finely the line is looked at, not that of both together.
    finest = min(along[low].std(), along[~low].std()) / max(along.std(), 1e-12)
    bandwidth = max(0.1, finest) * len(along) ** -0.2
    grid = np.linspace(ends[0] - np.ptp(ends) / 2, ends[1] + np.ptp(ends) / 2, _GRID)
    density = gaussian_kde(along, bandwidth)(grid)
    middle = np.flatnonzero((grid >= ends[0]) & (grid <= ends[1]))
    lowest = middle[np.argmin(density[middle])]
    peak = min(density[: lowest + 1].max(), density[lowest:].max())
    return float(1 - density[lowest] / peak) if peak > 0 else 0.0
