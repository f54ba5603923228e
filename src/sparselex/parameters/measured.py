"""How far a decomposition holds: how often components are important, and what masks do to the output."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.parameters.adversary import worst_masks
from sparselex.parameters.config import AttackConfig
from sparselex.parameters.gates import importance
from sparselex.parameters.losses import ByMap, Parts, gates_of, maps_of
from sparselex.parameters.records import LIVE_IMPORTANCE, LIVE_SHARE
from sparselex.parameters.target import Ran, Target


class Measured(NamedTuple):
    """What was measured on inputs, before it is made into figures."""

    active: dict[str, Float[Tensor, " n"]]
    """Of each matrix, components with an importance above 0 on each input."""

    live: dict[str, Tensor]
    """Of each matrix, which components are live."""

    faithful: dict[str, tuple[float, float]]
    """Of each matrix, the squared difference from the sum of its components, and its own squared norm."""

    distance: dict[str, Float[Tensor, " n"]]
    """How far each way to mask moves the output of each input, by the names in `MASKS`."""


MASKS = {
    "unmasked": "with all components",
    "stochastic": "with masks drawn between importance and 1",
    "rounded": "with masks of 1 where the importance is above one half and else 0",
    "adversarial": "with the masks between importance and 1 that move it most, each input its own",
    "adversarial_shared": "with the draw between importance and 1 that moves it most, one for all inputs",
    "all_zero": "with all components masked out",
}
"""Ways to mask, in words."""


def measure(target: Target, x: Tensor, parts: Parts, attack: AttackConfig, generator: torch.Generator) -> Measured:
    """Measure components of a target on inputs `x`, of which the masks that are sought see the first few."""
    with torch.no_grad():
        there = target.run(x, {})
        gates = gates_of(parts, there)
        g = {name: importance(one) for name, one in gates.items()}
        distance = {
            name: target.distance(target.run(x, maps_of(parts, masks)).output, there.output)
            for name, masks in _masks(g, generator)
        }
    distance |= _attacked(target, x[: attack.n_inputs], parts, gates, attack, generator)
    return Measured(
        active={name: (one > 0).double().sum(-1) for name, one in g.items()},
        live={name: (one > LIVE_IMPORTANCE).double().mean(0) > LIVE_SHARE for name, one in g.items()},
        faithful={name: _difference(weight, parts[name].total()) for name, weight in target.weights.items()},
        distance=distance,
    )


def _masks(g: ByMap, generator: torch.Generator) -> Iterator[tuple[str, dict[str, Tensor]]]:
    yield "unmasked", {name: torch.ones_like(one) for name, one in g.items()}
    draws = {name: torch.rand(one.shape, generator=generator, dtype=one.dtype) for name, one in g.items()}
    yield "stochastic", {name: one + (1 - one) * draws[name] for name, one in g.items()}
    yield "rounded", {name: (one > 0.5).to(one.dtype) for name, one in g.items()}
    yield "all_zero", {name: torch.zeros_like(one) for name, one in g.items()}


def _attacked(
    target: Target, x: Tensor, parts: Parts, gates: ByMap, attack: AttackConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    with torch.no_grad():
        there: Ran = target.run(x, {})
    gates = {name: one[: len(x)] for name, one in gates.items()}
    return {
        name: worst_masks(
            target, x, there, parts, gates, generator, n_steps=attack.n_steps, step=attack.step, shared=shared
        ).distance
        for name, shared in (("adversarial", False), ("adversarial_shared", True))
    }


def _difference(weight: Tensor, total: Tensor) -> tuple[float, float]:
    return float((weight - total).square().sum()), float(weight.square().sum())
