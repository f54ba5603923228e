"""Logistic regression on few or many columns, in float64. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_STEPS = 50
_HALVES = 30


class LinearProbe(NamedTuple):
    """What a probe reads: a direction and an offset, in units of the activations."""

    weight: Floats
    """`[d]`."""

    bias: float

    def scores(self, x: Floats) -> Floats:
        """`[n]` log odds of having the concept."""
        found: Floats = x @ self.weight + self.bias
        return found


def fit_probe(x: Floats, has: Bools, ridge: float = 1.0) -> LinearProbe:
    """The weights that minimise the summed logistic loss plus `ridge / 2` times their squared length, columns in units
    of their standard deviations (as scikit-learn's `LogisticRegression(C=1 / ridge)` on standardised columns). By
    Newton's method; columns that are constant get no weight.

    Args:
        x: `[n, d]`.
        has: `[n]`, whether each has the concept.
        ridge: above 0, so that there is a minimum where a line tells all.
    """
    mean, deviation = x.mean(0), x.std(0)
    scale = np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, np.inf)
    design = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], axis=1)
    penalty = np.append(np.full(x.shape[1], ridge), 0.0)
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = expit(design @ found)
        gradient = design.T @ (p - has) + penalty * found
        if np.abs(gradient).max() < 1e-7 * len(x):
            break
        curved = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
        found = _descended(design, has, penalty, found, np.linalg.solve(curved, gradient))
    weight = found[:-1] / scale
    return LinearProbe(weight, float(found[-1] - mean @ weight))


def fit_dense(
    x: Floats, has: Bools, units: NDArray[np.int64], ridges: tuple[float, ...] = (1.0, 30.0, 1000.0)
) -> LinearProbe:
    """A probe on all columns, with the ridge that does best on every third of the units when made of the others: what
    many columns need hangs on how many there are. The first third that has both texts with the concept and without it,
    as have the others; with the middle ridge where there is none."""
    thirds = [units % 3 == third for third in range(3)]
    held = next((one for one in thirds if min(_smaller(has[one]), _smaller(has[~one]))), None)
    if held is None or len(np.unique(units)) < 3:
        return fit_probe(x, has, ridges[len(ridges) // 2])
    losses = [_loss(fit_probe(x[~held], has[~held], ridge).scores(x[held]), has[held]) for ridge in ridges]
    return fit_probe(x, has, ridges[int(np.argmin(losses))])


def _descended(design: Floats, has: Bools, penalty: Floats, found: Floats, step: Floats) -> Floats:
    """A step, halved until it does not lead upwards."""
    value = lambda w: _loss(design @ w, has) + float(penalty @ np.square(w)) / 2
    before, size = value(found), 1.0
    for _ in range(_HALVES):
        if value(found - size * step) <= before:
            return found - size * step
        size /= 2
    return found


def _loss(scores: Floats, has: Bools) -> float:
    return float(np.logaddexp(0.0, np.where(has, -scores, scores)).sum())


def _smaller(has: Bools) -> int:
    return int(min(has.sum(), (~has).sum()))
