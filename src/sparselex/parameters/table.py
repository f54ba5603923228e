"""Components one by one: how often and how much each is important, and which of other matrices are with it."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.parameters.losses import Parts
from sparselex.parameters.records import LIVE_IMPORTANCE, Component, ComponentTable, Together

N_RANGES = 10
"""Equal ranges of importance."""

N_TOGETHER = 8
"""Components of other matrices that are named with each."""

_LEAST = 5
"""Inputs on which two are important at the least, so that a share beyond chance says something."""

_AT_ONCE = 256
"""Components held against all others at a time."""


def component_table(parts: Parts, importances: Mapping[str, Float[Tensor, "n n_components"]]) -> ComponentTable:
    """The table of all components, from the importances of each matrix's on the same inputs."""
    n = len(next(iter(importances.values())))
    active = {name: one > LIVE_IMPORTANCE for name, one in importances.items()}
    found = {name: _matrix(name, parts, importances[name], active) for name in importances}
    return ComponentTable(n_inputs=n, matrices=found)


def _matrix(
    name: str, parts: Parts, g: Float[Tensor, "n n_components"], active: Mapping[str, Tensor]
) -> list[Component]:
    share, mean, sizes = active[name].double().mean(0), g.double().mean(0), parts[name].U.detach().norm(dim=-1)
    histograms = _histograms(g)
    beside = _together(name, active)
    return [
        Component(
            number=number,
            share=float(share[number]),
            mean=float(mean[number]),
            histogram=histograms[number],
            size=float(sizes[number]),
            together=beside[number],
        )
        for number in range(g.shape[1])
    ]


def _histograms(g: Float[Tensor, "n n_components"]) -> list[list[int]]:
    """Of each component the inputs without any importance, and those in each range of it."""
    place = torch.where(g > 0, (g * N_RANGES).ceil().clamp(1, N_RANGES), 0).long()
    counts = torch.zeros(N_RANGES + 1, g.shape[1], dtype=torch.long)
    counts.scatter_add_(0, place, torch.ones_like(place))
    found: list[list[int]] = counts.T.tolist()
    return found


def _together(name: str, active: Mapping[str, Bool[Tensor, "n _"]]) -> list[list[Together]]:
    """Of each component those of other matrices with the most inputs in common beyond chance, in standard deviations of
    what chance gives where both are as often important as they are."""
    own, found = active[name], list[list[Together]]()
    others = [(other, number) for other, one in active.items() if other != name for number in range(one.shape[1])]
    if not others:
        return [[] for _ in range(own.shape[1])]
    beside = torch.cat([one for other, one in active.items() if other != name], dim=1).float()
    shares = beside.mean(0)
    for part in own.T.float().split(_AT_ONCE):
        both, share = part @ beside, part.mean(-1, keepdim=True)
        expected = len(own) * share * shares
        score = (both - expected) / (expected * (1 - share) * (1 - shares)).sqrt()
        best = torch.where(both >= _LEAST, score, 0).nan_to_num(0, 0, 0).topk(min(N_TOGETHER, len(others)), dim=-1)
        for row in range(len(part)):
            above = best.indices[row][best.values[row] > 0].tolist()
            found.append([_said(others[at], both[row, at], expected[row, at]) for at in above])
    return found


def _said(other: tuple[str, int], both: Tensor, expected: Tensor) -> Together:
    return Together(matrix=other[0], number=other[1], n=int(both), expected=float(expected))
