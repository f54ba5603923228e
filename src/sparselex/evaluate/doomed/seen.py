"""What a method saw in one run of an example, what as many random directions would have, and figures over runs."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.doomed.records import CHANCE_95, MethodRow, Sees

NOTHING: Mapping[str, float] = MappingProxyType({})
"""No further values."""

_LEAST_LENGTH = 1e-12


class Chance(NamedTuple):
    """What random directions reach: on average, and at most in 95 % of draws."""

    mean: float
    high: float


class Seen(NamedTuple):
    """One method in one run."""

    method: str
    setting: str
    sees: Sees
    values: Mapping[str, float]
    """By measure."""

    chance: Mapping[str, Chance] = {}
    """Of the measures that random directions have too."""


class RunSeen(NamedTuple):
    """One run of an example."""

    rows: list[Seen]
    facts: Mapping[str, float]
    """What else was measured of the model, by name."""


def rows_over(example: str, runs: Sequence[RunSeen], measures: Mapping[str, str]) -> list[MethodRow]:
    """Every method with its figures over all runs."""
    found = list[MethodRow]()
    for first in runs[0].rows:
        same = [one for run in runs for one in run.rows if one[:2] == first[:2]]
        row = MethodRow(method=first.method, setting=first.setting, sees=first.sees, figures={})
        figures = {
            name: _figure(f"doomed/{example}/{row.called}/{name}", name, same, measures) for name in first.values
        }
        found.append(row.model_copy(update={"figures": figures}))
    return found


def facts_over(example: str, runs: Sequence[RunSeen], words: Mapping[str, str]) -> list[Figure]:
    """What else is to be known of the model, over all runs."""
    return [
        mean_figure(f"doomed/{example}/{name}", [run.facts[name] for run in runs], words[name], over="seeds")
        for name in runs[0].facts
    ]


def _figure(path: str, measure: str, seen: Sequence[Seen], measures: Mapping[str, str]) -> Figure:
    chances = [one.chance[measure] for one in seen if measure in one.chance]
    null = float(np.mean([one.mean for one in chances])) if chances else None
    words = f"{measures[measure]}, mean over runs"
    if chances:
        words += "; null: as many random directions"
    found = mean_figure(path, [one.values[measure] for one in seen], words, over="seeds", null=null)
    if not chances or found.value is None:
        return found
    return found.model_copy(update={"controls": {CHANCE_95: float(np.mean([one.high for one in chances]))}})


def unit(rows: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
    """Rows at length 1; those of no length stay 0."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(_LEAST_LENGTH)


def best_cosine(rows: Float[Tensor, "m d"], targets: Float[Tensor, "c d"]) -> float:
    """The largest |cosine| of any row with each target, mean over targets."""
    return float((unit(rows.double()) @ unit(targets.double()).T).abs().max(0).values.mean())


def chance_of(
    statistic: Callable[[Float[Tensor, "m d"]], float], m: int, d: int, n_draws: int, generator: torch.Generator
) -> Chance:
    """A statistic of `m` random directions in `d` dimensions, drawn `n_draws` times."""
    drawn = [statistic(unit(torch.randn(m, d, generator=generator))) for _ in range(n_draws)]
    return Chance(float(np.mean(drawn)), float(np.quantile(drawn, 0.95)))
