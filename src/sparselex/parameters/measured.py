"""How far a decomposition holds: how often components are important, and what masks do to the output."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.parameters.adversary import worst_masks
from sparselex.parameters.config import AttackConfig
from sparselex.parameters.gates import importance
from sparselex.parameters.losses import ByMap, Parts, gates_of, maps_of
from sparselex.parameters.records import LIVE_IMPORTANCE, LIVE_SHARE
from sparselex.parameters.target import Ran, Target

Loss = Callable[[Tensor, Tensor], Tensor]
"""`(x, output)`: a loss of its own for each input, such as cross-entropy; NaN where there is none."""


class Measured(NamedTuple):
    """What was measured on inputs, before it is made into figures."""

    active: dict[str, Float[Tensor, " n"]]
    """Of each matrix, components with an importance above 0 on each input."""

    share: dict[str, Float[Tensor, " n_components"]]
    """Of each matrix, the share of inputs on which each component has an importance above `LIVE_IMPORTANCE`."""

    faithful: dict[str, tuple[float, float]]
    """Of each matrix, the squared difference from the sum of its components, and its own squared norm."""

    distance: dict[str, Float[Tensor, " n"]]
    """How far each way to mask moves the output of each input, by the names in `MASKS`."""

    attacked: Int[Tensor, " n_attacked"]
    """The inputs for which the worst masks were sought: those that `adversarial` and `adversarial_shared` are of."""

    loss: dict[str, Float[Tensor, " n"]]
    """The loss of each input under each of these, and of the model itself under `MODEL`; empty where none was asked
    for."""

    @property
    def live(self) -> dict[str, Tensor]:
        """Of each matrix, which components are live."""
        return {name: one > LIVE_SHARE for name, one in self.share.items()}


MODEL = "model"
"""The model itself, among losses."""

MASKS = {
    "unmasked": "with all components",
    "stochastic": "with masks drawn between importance and 1",
    "rounded": "with masks of 1 where the importance is above one half and else 0",
    "adversarial": "with the masks between importance and 1 that move it most, each input its own",
    "adversarial_shared": "with the draw between importance and 1 that moves it most, one for all inputs",
    "all_zero": "with all components masked out",
}
"""Ways to mask, in words."""


def measure(
    target: Target,
    batches: Sequence[Tensor],
    parts: Parts,
    attack: AttackConfig,
    generator: torch.Generator,
    *,
    loss: Loss | None = None,
    attacked: Int[Tensor, " n_attacked"] | None = None,
) -> Measured:
    """Measure components of a target on the inputs of `batches`, each of which is run at once.

    Worst masks are sought for the inputs `attacked`, counted through all batches, which are run at once; where none are
    named, for the first of the first batch.
    """
    if attacked is None:
        attacked = torch.arange(min(attack.n_inputs, len(batches[0])))
    each = [_measured(target, x, parts, generator, loss) for x in batches]
    worst = _attacked(target, torch.cat(list(batches))[attacked], parts, attack, generator, loss)
    active, important, moved, lost = (
        {name: torch.cat([one[at][name] for one in each]) for name in each[0][at]} for at in range(4)
    )
    return Measured(
        active=active,
        share={name: one.double().mean(0) for name, one in important.items()},
        faithful={name: _difference(weight, parts[name].total()) for name, weight in target.weights.items()},
        distance=moved | worst[0],
        attacked=attacked,
        loss=lost | worst[1],
    )


@torch.no_grad()
def _measured(
    target: Target, x: Tensor, parts: Parts, generator: torch.Generator, loss: Loss | None
) -> tuple[dict[str, Tensor], ...]:
    """Of one batch active components, which are important, distances and losses."""
    there = target.run(x, {})
    g = {name: importance(one) for name, one in gates_of(parts, there).items()}
    moved, lost = {}, {} if loss is None else {MODEL: loss(x, there.output)}
    for name, masks in _masks(g, generator):
        output = target.run(x, maps_of(parts, masks)).output
        moved[name] = target.distance(output, there.output)
        if loss is not None:
            lost[name] = loss(x, output)
    active = {name: (one > 0).double().sum(-1) for name, one in g.items()}
    return active, {name: one > LIVE_IMPORTANCE for name, one in g.items()}, moved, lost


def _masks(g: ByMap, generator: torch.Generator) -> Iterator[tuple[str, dict[str, Tensor]]]:
    yield "unmasked", {name: torch.ones_like(one) for name, one in g.items()}
    draws = {name: torch.rand(one.shape, generator=generator, dtype=one.dtype) for name, one in g.items()}
    yield "stochastic", {name: one + (1 - one) * draws[name] for name, one in g.items()}
    yield "rounded", {name: (one > 0.5).to(one.dtype) for name, one in g.items()}
    yield "all_zero", {name: torch.zeros_like(one) for name, one in g.items()}


def _attacked(
    target: Target,
    x: Tensor,
    parts: Parts,
    attack: AttackConfig,
    generator: torch.Generator,
    loss: Loss | None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Distances and losses under the worst masks that were found."""
    with torch.no_grad():
        there: Ran = target.run(x, {})
        gates = gates_of(parts, there)
    moved, lost = {}, {}
    for name, shared in (("adversarial", False), ("adversarial_shared", True)):
        worst = worst_masks(
            target, x, there, parts, gates, generator, n_steps=attack.n_steps, step=attack.step, shared=shared
        )
        moved[name] = worst.distance
        if loss is not None:
            lost[name] = loss(x, _under(target, x, parts, gates, worst.masks))
    return moved, lost


@torch.no_grad()
def _under(target: Target, x: Tensor, parts: Parts, gates: ByMap, draws: Mapping[str, Tensor]) -> Tensor:
    """The output under masks between importance and 1."""
    g = {name: importance(one) for name, one in gates.items()}
    masks = {name: one + (1 - one) * draws[name] for name, one in g.items()}
    return target.run(x, maps_of(parts, masks)).output


def _difference(weight: Tensor, total: Tensor) -> tuple[float, float]:
    return float((weight - total).square().sum()), float(weight.square().sum())
