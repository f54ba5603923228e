"""On which prompts the latents of dictionaries at one place are active, and random directions that fire as often."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.meaning import at_rates, fires_above
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.place import AtPlace, coded_by, generator_of
from sparselex.evaluate.supervised.rows import Contestant


class Firing(NamedTuple):
    """What one dictionary makes of both kinds of prompts, and what random directions make of them."""

    fit: Bool[Tensor, "n d_sae"]
    """On the prompts that dictionaries are made of."""

    there: Bool[Tensor, "m d_sae"]
    """On tested ones."""

    null_fit: Bool[Tensor, "n d_sae"]
    """Where random directions lie beyond the threshold at which they fire as often as the latents in whose place they
    stand."""

    null_there: Bool[Tensor, "m d_sae"]
    """The same of tested prompts."""


def firing_of(at: AtPlace, one: Contestant, config: TaskConfig) -> list[Mapping[Node, Firing]]:
    """Of every seed and node."""
    return [
        {
            node: firing_at(
                at.fit[node], at.there[node], dictionary, generator_of(config.seed, "null", str(node), number)
            )
            for node, dictionary in group.items()
        }
        for number, group in enumerate(one.groups)
    ]


def firing_at(
    fit: Float[Tensor, "n d"], there: Float[Tensor, "m d"], dictionary: Dictionary, draws: torch.Generator
) -> Firing:
    """Of one dictionary on values of both kinds of prompts; `draws` draws the random directions."""
    fires = coded_by(dictionary, fit).acts != 0
    rows, thresholds = at_rates(fit, fires.float().mean(0), draws)
    nulls = (fires_above(values, fit.mean(0), rows, thresholds) for values in (fit, there))
    return Firing(fires, coded_by(dictionary, there).acts != 0, *nulls)
