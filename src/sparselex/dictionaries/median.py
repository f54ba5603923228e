"""The geometric median: the point with the least mean distance to a sample."""

import torch
from jaxtyping import Float
from torch import Tensor

MOST_STEPS, NEAR_ENOUGH = 200, 1e-7
"""Steps of the iteration at most, and the step, relative to the spread of the points, at which it ends."""


@torch.no_grad()
def geometric_median(points: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """The point whose summed distance to `points` is least, in their precision; computed in float64.

    Weiszfeld's iteration from the mean: each step is the mean weighted by one over the distances. Where a step comes to
    lie on points of the sample, what pulls away from them is held against how many they are (Vardi and Zhang 2000,
    PNAS 97:1423), so that it neither divides by zero nor stays where the median is not.
    """
    exact = points.double()
    here = exact.mean(0)
    scale = (exact - here).norm(dim=-1).mean()
    if not float(scale):
        return here.to(points.dtype)
    for _ in range(MOST_STEPS):
        following = _step(exact, here, scale)
        moved, here = (following - here).norm(), following
        if float(moved) <= NEAR_ENOUGH * float(scale):
            break
    return here.to(points.dtype)


def _step(points: Float[Tensor, "n d"], here: Float[Tensor, " d"], scale: Tensor) -> Float[Tensor, " d"]:
    distances = (points - here).norm(dim=-1)
    away = distances > 1e-12 * scale
    weights = torch.where(away, 1 / distances.clamp_min(torch.finfo(points.dtype).tiny), 0)
    total = weights.sum()
    if not float(total):
        return here
    mean = weights @ points / total
    n_here = int((~away).sum())
    if not n_here:
        return mean
    pull = float((mean - here).norm() * total)
    return here if pull <= n_here else here + (1 - n_here / pull) * (mean - here)
