"""Whether a cloud of points in a plane is one feature of two dimensions: no mixture of things of fewer, and no product
of two that are independent (Engels et al. 2024, arXiv:2405.14860, section 3). Arrays in, numbers out.

What is wrong with them: both speak of one plane at a time; the mixture index of a cloud that is dense at its middle is
high though it is one thing; and the separability index sees any dependence, two features that exclude each other
included. Three latents that are never active together make a star of three rays, with a mixture index of a third and
much dependence: that is why groups are held against random ones of their own size."""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

EPSILON = 0.1
"""How near to a line, in root mean squares of the distance from it, a point lies on it."""

_STARTS, _STEPS, _LR = 10, 60, 0.1
_HOT, _COLD = 1.0, 0.03
"""Temperatures of the relaxed version, at the first step and at the last."""

N_BINS, N_ROTATIONS, N_SHUFFLES = 12, 16, 4
_WIDE = 3.0
"""Standard deviations that histograms reach out to; what lies beyond is in the last bin."""

Cloud = Float[NDArray[np.float64], "n 2"]


def normalised(points: Cloud) -> Cloud:
    """Points with zero mean and unit mean square; all zero where they are one point."""
    about = points - points.mean(0)
    size = math.sqrt(float(np.square(about).sum(1).mean()))
    return about / size if size else about


def mixture_index(points: Cloud, seed: int) -> float:
    """The largest share of points that lie on one line: 0.08 for a normal cloud, 0.5 or more for two lines.

    The share is a step function of the line, so that its slope says nothing: a sigmoid stands in its place, whose
    temperature falls, and gradients lead to its top from several starts. What is given back is the true share at the
    best line that was come to."""
    x = torch.from_numpy(normalised(points))
    draws = torch.Generator().manual_seed(seed)
    angle = (torch.arange(_STARTS) * math.pi / _STARTS).double().requires_grad_()
    c = (torch.randn(_STARTS, generator=draws).double() * 0.3).requires_grad_()
    ascent = torch.optim.Adam([angle, c], lr=_LR, maximize=True)
    best = 0.0
    for step in range(_STEPS):
        temperature = _HOT * (_COLD / _HOT) ** (step / (_STEPS - 1))
        z = _distances(x, angle, c)
        best = max(best, float((z.detach() < EPSILON).double().mean(1).max()))
        ascent.zero_grad()
        torch.sigmoid((EPSILON - z) / (EPSILON * temperature)).mean(1).sum().backward()
        ascent.step()
    return max(best, float((_distances(x, angle, c).detach() < EPSILON).double().mean(1).max()))


def _distances(x: Tensor, angle: Tensor, c: Tensor) -> Float[Tensor, "starts n"]:
    """Of every line the distances of points from it, in root mean squares."""
    along = torch.stack([angle.cos(), angle.sin()], dim=1) @ x.T + c[:, None]
    return along.abs() / along.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)


def separability_index(points: Cloud, rng: np.random.Generator) -> float:
    """The least mutual information of both coordinates, in bits, over rotations of the plane, each less what it is on
    average where one coordinate's values are shuffled: 0 where some pair of axes is independent."""
    x = normalised(points)
    angles = np.arange(N_ROTATIONS) * (math.pi / 2 / N_ROTATIONS)
    turned = [x @ np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) for a in angles]
    return min(_above_chance(one, rng) for one in turned)


def _above_chance(points: Cloud, rng: np.random.Generator) -> float:
    a, b = (_binned(points[:, axis]) for axis in (0, 1))
    by_chance = [_information(a, rng.permutation(b)) for _ in range(N_SHUFFLES)]
    return _information(a, b) - float(np.mean(by_chance))


def _binned(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each, of equal ones between so many standard deviations."""
    size = float(values.std()) or 1.0
    place = (values - values.mean()) / size / (2 * _WIDE) + 0.5
    return np.clip((place * N_BINS).astype(np.int64), 0, N_BINS - 1)


def _information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Mutual information of two columns of bins, in bits."""
    joint = np.bincount(a * N_BINS + b, minlength=N_BINS**2).reshape(N_BINS, N_BINS) / len(a)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / apart[there])).sum())
