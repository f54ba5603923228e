"""Pictures of a census: how many latents are active how often, and latents by pairs of coordinates."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from sparselex.atlas.census.records import Census
from sparselex.base.formats import count, number
from sparselex.server.charts import BASE, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bar, Tick

_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Dot(NamedTuple):
    """A latent in a picture."""

    x: float
    y: float
    ultralow: bool


class Cloud(NamedTuple):
    """Latents by density and one other coordinate."""

    coordinate: str
    dots: list[Dot]
    y_ticks: list[Tick]


class CensusPicture(NamedTuple):
    """All pictures, over one axis of densities."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    rest: list[Bar]
    ultralow: list[Bar]
    clouds: list[Cloud]


def pictures(found: Census) -> CensusPicture:
    """The histogram with latents of very low density on top of the rest, and a cloud for each other coordinate."""
    low, high = found.edges[0], found.edges[-1]
    across = lambda value: round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1), 2)
    both = list(zip(found.counts["rest"], found.counts["ultralow"], strict=True))
    top = max((sum(pair) for pair in both), default=0) or 1
    up = lambda share: round(BASE - (BASE - TOP) * share, 2)
    rest, ultralow = [], []
    for (left, right), (n_rest, n_low) in zip(itertools.pairwise(found.edges), both, strict=True):
        x, width = across(left), round(across(right) - across(left), 2)
        said = f"{number(10**left, 2)} to {number(10**right, 2)}"
        y = up(n_rest / top)
        rest.append(Bar(x, y, width, round(BASE - y, 2), f"{said}: {count(n_rest)} latents"))
        if n_low:
            end = up((n_rest + n_low) / top)
            label = f"{said}: {count(n_low)} latents of the cluster of very low density"
            ultralow.append(Bar(x, end, width, round(y - end, 2), label))
    return CensusPicture(
        x_ticks=[Tick(across(p), f"10{str(p).translate(_POWERS)}" if p else "1") for p in range(math.ceil(low), 1)],
        y_ticks=[Tick(up(share), count(round(share * top))) for share in (0.5, 1.0)],
        rest=rest,
        ultralow=ultralow,
        clouds=[_cloud(found, place, across) for place in range(len(found.coordinates))],
    )


def _cloud(found: Census, place: int, across: Callable[[float], float]) -> Cloud:
    values = [point.values[place] for point in found.points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or 1.0
    up = lambda value: round(BASE - (BASE - TOP) * (value - low) / span, 1)
    return Cloud(
        coordinate=found.coordinates[place],
        dots=[
            Dot(round(across(point.log_density), 1), up(point.values[place]), point.ultralow) for point in found.points
        ],
        y_ticks=[Tick(up(value), number(value, 2)) for value in (low, low + span / 2, high)],
    )


BOX = (WIDTH, HEIGHT)
"""Size of a picture, in units."""
