"""Which attribute is strong at a place, and what is left when it is taken out by degrees. Arrays in, arrays out."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.evaluate.supervised.labels import Labels, Supervised
from sparselex.evaluate.supervised.nodes import Node, Values

LEAST_VALUES = 3
"""Values that an attribute must have: of two, a latent that is always active has an F1 of 0.67 for each, so that both
would count as found by a latent that tells nothing."""


class Strengths(NamedTuple):
    """Attributes that are there, the one with the longest vectors first."""

    lengths: dict[str, float]
    """Mean length of the vectors of its values, over values that occur and nodes."""

    there: dict[str, float]
    """Share of the variance of tested values that its vectors account for."""


def strengths(supervised: Mapping[Node, Supervised], values: Values, labels: Labels, least: float) -> Strengths:
    """The attributes of three values or more whose vectors account for at least that share of the variance.

    Args:
        supervised: of each node the dictionary that labels give.
        values: `[n, d]` of each, what is there on tested prompts.
        labels: of these prompts.
    """
    there = {name: _explained(supervised, values, name, column) for name, column in labels.items()}
    lengths = {name: _length(supervised, name) for name in labels}
    kept = [name for name in labels if there[name] >= least and _n_values(supervised, name) >= LEAST_VALUES]
    kept.sort(key=lambda name: -lengths[name])
    return Strengths({name: lengths[name] for name in kept}, {name: there[name] for name in kept})


def of_equal_length(vectors: Float[Tensor, "n_values d"], generator: torch.Generator) -> Float[Tensor, "n_values d"]:
    """Random vectors, every direction as likely as any other, each as long as the one in whose place it stands."""
    draws = torch.randn(vectors.shape, generator=generator, dtype=vectors.dtype)
    return draws / draws.norm(dim=-1, keepdim=True).clamp_min(1e-30) * vectors.norm(dim=-1, keepdim=True)


def subtracted(
    values: Values, vectors: Mapping[Node, Tensor], labels: Int[Tensor, " n"], alpha: float
) -> dict[Node, Float[Tensor, "n d"]]:
    """Values less `alpha` times the vector of the value that each prompt has."""
    return {node: x - alpha * vectors[node][labels] for node, x in values.items()}


def _explained(supervised: Mapping[Node, Supervised], values: Values, name: str, labels: Tensor) -> float:
    """1 less what is left of the squares about the mean when the attribute's vectors are taken out."""
    about = {node: x - supervised[node].mean for node, x in values.items()}
    left = sum(float((x - supervised[node].vectors[name][labels]).square().sum()) for node, x in about.items())
    whole = sum(float(x.square().sum()) for x in about.values())
    return 1 - left / whole if whole else 0.0


def _length(supervised: Mapping[Node, Supervised], name: str) -> float:
    lengths = torch.cat([one.vectors[name].norm(dim=-1) for one in supervised.values()])
    return float(lengths[lengths > 0].mean()) if (lengths > 0).any() else 0.0


def _n_values(supervised: Mapping[Node, Supervised], name: str) -> int:
    """Values that occurred, by the node that knows most of them."""
    return max(int((one.vectors[name].norm(dim=-1) > 0).sum()) for one in supervised.values())
