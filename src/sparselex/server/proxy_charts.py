"""The activations of a feature by what a concept says of its tokens, as stacked bars."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sparselex.atlas.proxies.records import ConceptFound
from sparselex.base.formats import count, number, percent
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Tick

_HEIGHT = BASE - TOP


class Piece(NamedTuple):
    """The part of a bar that is of one class."""

    y: float
    height: float
    kind: int
    """Number of the class: 0 for outside."""


class Stack(NamedTuple):
    """One bar."""

    x: float
    width: float
    pieces: list[Piece]
    label: str


class Stacks(NamedTuple):
    """A chart of them."""

    bars: list[Stack]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def by_tokens(found: ConceptFound) -> Stacks:
    """Tokens by interval of activation: as high as the log of how many they are, each bar divided in the shares of its
    tokens."""
    totals = [sum(one.counts) for one in found.intervals]
    top = math.log10(max(10, *totals)) * 1.04
    # One token must be seen: the axis begins at half a token.
    height = lambda n: (math.log10(n) + 0.3) / (top + 0.3) if n else 0.0
    ticks = [Tick(_up(height(10**power)), count(10**power)) for power in range(int(top) + 1)]
    return _stacks(found, [one.counts for one in found.intervals], [*map(height, totals)], "token", ticks)


def by_mass(found: ConceptFound) -> Stacks:
    """Activation by interval: the tokens of each times their activations, which shows where most of it lies."""
    totals = [sum(one.masses) for one in found.intervals]
    most = max(totals, default=0.0) or 1.0
    ticks = [Tick(_up(share), number(share * most, 2)) for share in (0, 0.5, 1)]
    return _stacks(found, [one.masses for one in found.intervals], [total / most for total in totals], "", ticks)


def _stacks(
    found: ConceptFound, parts: Sequence[Sequence[float]], heights: Sequence[float], unit: str, y_ticks: list[Tick]
) -> Stacks:
    step = (WIDTH - LEFT - RIGHT) / max(1, len(parts))
    bars = []
    for place, (interval, values, height) in enumerate(zip(found.intervals, parts, heights, strict=True)):
        total = sum(values)
        if not total:
            continue
        pieces, at = [], float(BASE)
        # What is inside stands on the axis, and what is outside above it.
        for kind in reversed(range(len(values))):
            size = round(_HEIGHT * height * values[kind] / total, 2)
            at -= size
            pieces.append(Piece(round(at, 2), size, kind))
        inside = percent(1 - values[0] / total)
        amount = f"{count(int(total))} {unit}{'' if total == 1 else 's'}" if unit else f"activation {number(total, 3)}"
        label = f"{number(interval.low, 3)} to {number(interval.high, 3)}: {amount}, {inside} inside"
        bars.append(Stack(round(LEFT + place * step + 1, 1), round(step - 2, 1), pieces, label))
    largest = found.intervals[-1].high if found.intervals else 0.0
    x_ticks = [
        Tick(round(LEFT + share * (WIDTH - LEFT - RIGHT), 1), number(share * largest, 2)) for share in (0, 0.5, 1)
    ]
    return Stacks(bars, x_ticks, y_ticks)


def _up(share: float) -> float:
    return round(BASE - _HEIGHT * share, 2)
