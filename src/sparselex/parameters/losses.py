"""The four losses of stochastic parameter decomposition (arXiv:2506.20790, section 3), each a function of its own."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.parameters.components import Components
from sparselex.parameters.config import SpdConfig
from sparselex.parameters.gates import leaky_above, leaky_below
from sparselex.parameters.target import LinearMap, Ran, Target

Parts = Mapping[str, Components]
"""The components of each matrix, by its name."""

ByMap = Mapping[str, Tensor]
"""`[n, n_components]` for each matrix."""


class Losses(NamedTuple):
    """One value of each loss, without their weights."""

    faithfulness: Tensor
    stochastic: Tensor
    layerwise: Tensor
    minimality: Tensor

    def weighted(self, config: SpdConfig) -> Tensor:
        """Their sum with the weights of a configuration."""
        return (
            config.faithfulness * self.faithfulness
            + config.stochastic * self.stochastic
            + config.layerwise * self.layerwise
            + config.minimality * self.minimality
        )


class Draws(NamedTuple):
    """What masks are drawn with, uniform between 0 and 1."""

    together: ByMap
    """For the pass with all matrices masked."""

    alone: ByMap
    """For the passes with one masked at a time."""


def draw(parts: Parts, n: int, generator: torch.Generator, bare: float = 0.0) -> Draws:
    """Fresh draws for `n` inputs; a share `bare` of them draws 0 for every component, so that masks are importances
    themselves there."""
    return Draws(_drawn(parts, n, generator, bare), _drawn(parts, n, generator, bare))


def _drawn(parts: Parts, n: int, generator: torch.Generator, bare: float) -> dict[str, Tensor]:
    found = {
        name: torch.rand(n, one.n_components, generator=generator, dtype=one.V.dtype) for name, one in parts.items()
    }
    if bare:
        drawn = torch.rand(n, 1, generator=generator) >= bare
        found = {name: one * drawn for name, one in found.items()}
    return found


def gates_of(parts: Parts, there: Ran) -> dict[str, Tensor]:
    """What the networks say of every component on inputs that the model itself has run on."""
    return {name: one.gates(one.inner(there.inputs[name])) for name, one in parts.items()}


def masks_of(gates: ByMap, draws: ByMap) -> dict[str, Tensor]:
    """Masks `g + (1 - g) r` between a component's importance and 1, drawn so that gradients flow into importances."""
    found = {}
    for name, value in gates.items():
        g = leaky_below(value)
        found[name] = g + (1 - g) * draws[name]
    return found


def maps_of(parts: Parts, masks: ByMap) -> dict[str, LinearMap]:
    """The matrices as sums of masked components."""
    return {name: partial(parts[name].masked, masks=one) for name, one in masks.items()}


def faithfulness(target: Target, parts: Parts) -> Float[Tensor, ""]:
    """Mean squared difference between all entries of the matrices and of the sums of their components."""
    each = [(weight - parts[name].total()).square().sum() for name, weight in target.weights.items()]
    return torch.stack(each).sum() / sum(weight.numel() for weight in target.weights.values())


def reconstruction(target: Target, x: Tensor, there: Ran, parts: Parts, masks: ByMap) -> Float[Tensor, ""]:
    """Mean distance of the output with these matrices masked from that of the model itself."""
    return target.distance(target.run(x, maps_of(parts, masks)).output, there.output).mean()


def layerwise(target: Target, x: Tensor, there: Ran, parts: Parts, masks: ByMap) -> Float[Tensor, ""]:
    """The mean over matrices of that distance with one masked at a time and the others as they are."""
    each = [reconstruction(target, x, there, parts, {name: one}) for name, one in masks.items()]
    return torch.stack(each).mean()


def minimality(gates: ByMap, p: float) -> Float[Tensor, ""]:
    """Sum over components of importances to the power `p`, mean over inputs."""
    return torch.stack([_power(leaky_above(one), p).sum(-1).mean() for one in gates.values()]).sum()


def _power(g: Tensor, p: float) -> Tensor:
    """`g^p`, 0 with no slope at 0, where below `p = 1` the power has an infinite one."""
    there = g > 0
    return torch.where(there, torch.where(there, g, 1.0).pow(p), 0.0)


def losses(target: Target, x: Tensor, parts: Parts, draws: Draws, config: SpdConfig) -> Losses:
    """All losses on inputs `x`. Raises `KeyError` where `parts` lack a matrix of the target."""
    with torch.no_grad():
        there = target.run(x, {})
    gates = gates_of(parts, there)
    zero = x.new_zeros((), dtype=next(iter(gates.values())).dtype)
    together, alone = masks_of(gates, draws.together), masks_of(gates, draws.alone)
    return Losses(
        faithfulness=faithfulness(target, parts),
        stochastic=reconstruction(target, x, there, parts, together) if config.stochastic else zero,
        layerwise=layerwise(target, x, there, parts, alone) if config.layerwise else zero,
        minimality=minimality(gates, config.p),
    )
