"""Whether another seed finds the same components: those of one decomposition among those of another of the same matrix,
as the matrices of rank one that they are."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure

FOUND_FROM = 0.7
"""Cosine from which a component counts as found again."""

BEGINNING = "beginning"
"""The control: the same components as they were before training."""

_BESIDE = (
    "null: the other's directions mixed at random, so that they span the same with the same singular values; control: "
    "the same components before training"
)


class Ranked(NamedTuple):
    """Components of a matrix, each `U_c V_cᵀ`, a matrix of rank one."""

    U: Float[Tensor, "n d_out"]
    """What each writes."""

    V: Float[Tensor, "n d_in"]
    """What each reads."""

    def at(self, which: Tensor) -> "Ranked":
        """Some of them, by their numbers or flags."""
        return Ranked(self.U[which], self.V[which])


class Sides(NamedTuple):
    """The live components of one decomposition, after training and before it."""

    live: Ranked
    """As they are."""

    begun: Ranked
    """The same as they were before."""


def nearest(own: Ranked, other: Ranked) -> Float[Tensor, " n"]:
    """Of each component the largest cosine of its matrix with that of any of the other: the product of the cosines of
    what both write and of what both read, so that it does not matter if both turn their sign."""
    written = normalize(own.U, dim=-1) @ normalize(other.U, dim=-1).T
    read = normalize(own.V, dim=-1) @ normalize(other.V, dim=-1).T
    return (written * read).amax(-1)


def mixed(of: Ranked, generator: torch.Generator) -> Ranked:
    """As many components at random: directions of length 1, those that write and those that read each turned into one
    another by a rotation of its own, which leaves the singular values of both stacks as they are."""

    def turned(rows: Tensor) -> Tensor:
        drawn = torch.randn(len(rows), len(rows), generator=generator, dtype=rows.dtype)
        return torch.linalg.qr(drawn)[0] @ normalize(rows, dim=-1)

    return Ranked(turned(of.U), turned(of.V))


def again_figures(matrix: str, own: Sides, other: Sides, generator: torch.Generator) -> list[Figure]:
    """How near the live components of one decomposition come to those of another of the same matrix, and these to
    them (`back`), beside a null that `generator` draws."""
    there = f"live components of {matrix}, among those of the other decomposition"
    back = f"live components of {matrix} in the other decomposition, among those here"
    return [
        *_one_way(f"parameters/{matrix}", there, own, other, generator),
        *_one_way(f"parameters/{matrix}/back", back, other, own, generator),
    ]


def _one_way(path: str, words: str, own: Sides, other: Sides, generator: torch.Generator) -> Iterator[Figure]:
    said = {
        "nearest_cosine": f"{words}: mean largest cosine between matrices U_c V_c of rank one; {_BESIDE}",
        "found_share": f"{words}: share with a cosine of {FOUND_FROM:g} or more between matrices U_c V_c; {_BESIDE}",
    }
    if not (len(own.live.U) and len(other.live.U)):
        for name, definition in said.items():
            yield Figure(name=f"{path}/{name}", definition=definition, failure="one of them has no live component")
        return
    best, null = nearest(own.live, other.live), nearest(own.live, mixed(other.live, generator))
    begun = nearest(own.begun, other.begun)
    for name, definition in said.items():
        those = [one >= FOUND_FROM if name == "found_share" else one for one in (best, null, begun)]
        by_chance, before = (float(one.double().mean()) for one in those[1:])
        figure = mean_figure(
            f"{path}/{name}", those[0].numpy(), definition, over="components", null=by_chance, better="higher"
        )
        yield figure.model_copy(update={"controls": {BEGINNING: before}})
