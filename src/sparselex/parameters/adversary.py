"""The masks that move the output most: whether a decomposition holds for every mask it allows, or for most only."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.parameters.gates import importance
from sparselex.parameters.losses import ByMap, Parts, maps_of
from sparselex.parameters.target import Ran, Target


class Worst(NamedTuple):
    """What the search found."""

    masks: dict[str, Tensor]
    """`[n, n_components]`, or `[1, n_components]` where all inputs share them."""

    distance: Float[Tensor, " n"]
    """How far they move the output of each input."""


def worst_masks(
    target: Target,
    x: Tensor,
    there: Ran,
    parts: Parts,
    gates: ByMap,
    generator: torch.Generator,
    *,
    n_steps: int = 20,
    step: float = 0.1,
    shared: bool = False,
) -> Worst:
    """Masks `g + (1 - g) r` with the `r` between 0 and 1 that move the output furthest from the model's own, by ascent
    along the sign of the gradient, projected back into the range after each step. It begins at uniform draws; the best
    masks seen on the way are kept, so that they are never better than random ones.

    Args:
        there: what the model itself gives on `x`.
        gates: what the networks say of every component on `x`.
        n_steps: steps of ascent.
        step: length of a step in `r`.
        shared: whether one `r` is sought for all inputs at once, and its mean distance is what rises; else each input
            has its own. Importances are each input's own in either case.
    """
    g = {name: importance(one).detach() for name, one in gates.items()}
    draws = {
        name: torch.rand(1 if shared else len(x), one.shape[1], generator=generator, dtype=one.dtype)
        for name, one in g.items()
    }
    best = draws
    reached = target.distance(_output(target, x, parts, g, draws), there.output).detach()
    for _ in range(n_steps):
        draws = _step(target, x, there, parts, g, draws, step)
        with torch.no_grad():
            now = target.distance(_output(target, x, parts, g, draws), there.output)
            better = (now.mean() > reached.mean()).expand(len(now)) if shared else now > reached
            reached = torch.where(better, now, reached)
            keep = better[:1, None] if shared else better[:, None]
            best = {name: torch.where(keep, draws[name], one) for name, one in best.items()}
    return Worst(best, reached)


def _output(target: Target, x: Tensor, parts: Parts, g: ByMap, draws: ByMap) -> Tensor:
    """The output on `x` under the masks of importances and draws."""
    masks = {name: one + (1 - one) * draws[name] for name, one in g.items()}
    return target.run(x, maps_of(parts, masks)).output


def _step(
    target: Target, x: Tensor, there: Ran, parts: Parts, g: ByMap, draws: Mapping[str, Tensor], step: float
) -> dict[str, Tensor]:
    leaves = {name: one.detach().requires_grad_() for name, one in draws.items()}
    moved = target.distance(_output(target, x, parts, g, leaves), there.output).sum()
    slopes = torch.autograd.grad(moved, list(leaves.values()))
    pairs = zip(leaves.items(), slopes, strict=True)
    return {name: (one + step * slope.sign()).detach().clamp(0, 1) for (name, one), slope in pairs}
