"""Histograms of correlations over one axis, and scatter plots of pairs of numbers, in the box of `charts`."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparselex.base.formats import number, percent
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Bar, Chart, Series, Tick

N_BINS = 24

_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Mark(NamedTuple):
    """A mark of a plot and its words."""

    x: float
    y: float
    label: str


class Marks(NamedTuple):
    """A scatter plot: what was found, and the same under the null."""

    found: list[Mark]
    null: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def edges_from(low: float) -> list[float]:
    """Edges of equal bins from `low` to 1."""
    return [low + (1 - low) * place / N_BINS for place in range(N_BINS + 1)]


def shares(values: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Share of the values in each bin; what lies outside counts in the first or the last."""
    counts, width = [0] * (len(edges) - 1), edges[1] - edges[0]
    for value in values:
        counts[min(len(counts) - 1, max(0, int((value - edges[0]) / width)))] += 1
    return [count / max(1, len(values)) for count in counts]


def correlation_chart(found: Mapping[str, tuple[str, list[float]]], low: float, cut: str = "") -> Chart:
    """Shares of several kinds of things by how alike they are with their matches.

    Args:
        found: by the name of a kind, what is said of it, and the share of it in each bin.
        low: where the first bin begins; the last ends at 1.
        cut: the kind whose bars may end at the top of the chart: chance lies in one or two bins, and is not the scale.
    """
    edges = edges_from(low)
    top = max((max(values) for name, (_, values) in found.items() if name != cut), default=0) or 1.0
    series = []
    for name, (note, values) in found.items():
        bars = []
        for place, share in enumerate(values):
            x, end, y = _across(edges[place], low), _across(edges[place + 1], low), _up(min(1.0, share / top))
            words = f"{name}, {number(edges[place], 2)} to {number(edges[place + 1], 2)}: {percent(share)}"
            bars.append(Bar(x, y, round(end - x, 2), round(BASE - y, 2), words))
        steps = "".join(f"V{bar.y:g}H{bar.x + bar.width:g}" for bar in bars)
        series.append(Series(name, note, bars, f"M{bars[0].x:g} {BASE}{steps}V{BASE}"))
    return Chart(series, _marks(low), [Tick(_up(part), percent(part * top)) for part in (0.5, 1.0)])


def scatter(found: Sequence[tuple[str, float, float]], null: Sequence[tuple[str, float, float]]) -> Marks | None:
    """Words and two correlations of each; None where there is nothing to draw."""
    if not found:
        return None
    every = [*found, *null]
    low_x, low_y = _low(min(x for _, x, _ in every)), _low(min(y for _, _, y in every))
    drawn = [
        [Mark(_across(x, low_x), _up((y - low_y) / (1 - low_y)), label) for label, x, y in some]
        for some in (found, null)
    ]
    y_ticks = [Tick(_up((at - low_y) / (1 - low_y)), number(at, 2)) for at in _round(low_y)]
    return Marks(drawn[0], drawn[1], _marks(low_x), y_ticks)


def activations_against(points: Sequence[tuple[float, float]], most: tuple[float, float]) -> Marks:
    """Two activations at each token; `most` are the largest of either."""
    x_most, y_most = (one or 1.0 for one in most)
    marks = [Mark(_across(x / x_most, 0.0), _up(y / y_most), f"{number(x, 3)} and {number(y, 3)}") for x, y in points]
    parts = (0.0, 0.5, 1.0)
    x_ticks = [Tick(_across(part, 0.0), number(part * x_most, 2)) for part in parts]
    return Marks(marks, [], x_ticks, [Tick(_up(part), number(part * y_most, 2)) for part in parts])


def _low(least: float) -> float:
    """A round value at or below all that is drawn, and at most 0."""
    return min(0.0, math.floor(least * 4) / 4)


def _round(low: float) -> list[float]:
    return [-0.25 * place for place in range(round(-low * 4), 0, -1)] + list(_TICKS)


def _marks(low: float) -> list[Tick]:
    return [Tick(_across(at, low), number(at, 2)) for at in _round(_low(low))]


def _across(value: float, low: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (1 - low), 1)


def _up(share: float) -> float:
    return round(BASE - (BASE - TOP) * share, 1)
