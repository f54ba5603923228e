"""A scatter plot of how alike latents and their best matches are, beside the null, in the box of `charts`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sparselex.base.formats import number, percent
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Tick


class Pair(NamedTuple):
    """A latent and how alike its best match is."""

    latent: int
    density: float
    value: float
    null: float


class Mark(NamedTuple):
    """A mark of the plot and its words."""

    x: float
    y: float
    label: str


class Likeness(NamedTuple):
    """The plot: a dot for each latent, a cross for the same under the null, and the line that 95 % of these stay
    below."""

    found: list[Mark]
    null: list[Mark]
    bound: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def likeness(pairs: Sequence[Pair], bound: float) -> Likeness | None:
    """Similarity by density (log scale); None where there is nothing to draw."""
    pairs = [pair for pair in pairs if pair.density > 0]
    if not pairs:
        return None
    logs = [math.log10(pair.density) for pair in pairs]
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    bottom = min(0.0, *(min(pair.value, pair.null) for pair in pairs))

    def across(log: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (log - low) / (high - low), 1)

    def up(value: float) -> float:
        return round(BASE - (BASE - TOP) * (value - bottom) / (1 - bottom), 1)

    places = [(pair, across(log)) for pair, log in zip(pairs, logs, strict=True)]
    return Likeness(
        found=[Mark(x, up(pair.value), f"{pair.latent}: {number(pair.value, 3)}") for pair, x in places],
        null=[Mark(x, up(pair.null), f"null: {number(pair.null, 3)}") for pair, x in places],
        bound=up(bound),
        x_ticks=[Tick(across(power), percent(10.0**power)) for power in range(low, high + 1)],
        y_ticks=[Tick(up(share), number(share, 2)) for share in (0, 0.25, 0.5, 0.75, 1)],
    )
