"""Histograms and scatter plots as shapes, ready for inline SVG, all in one box of `WIDTH` by `HEIGHT` units."""

import itertools
import math
from typing import NamedTuple

from sparselex.atlas.records import SweepRow
from sparselex.base.formats import count, fixed, number, percent
from sparselex.evaluate.records import DensityHistogram
from sparselex.evaluate.synthetic.records import HEADLINE, SyntheticReport
from sparselex.features.records import Histogram
from sparselex.server.pages.activity import ActivityView

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 8, 22
BASE = HEIGHT - BOTTOM
"""Height of the horizontal axis."""


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    label: str


class Bar(NamedTuple):
    """One bar and its words."""

    x: float
    y: float
    width: float
    height: float
    label: str


class Series(NamedTuple):
    """One histogram of a chart: as bars and as an outline."""

    name: str
    note: str
    bars: list[Bar]
    outline: str


class Point(NamedTuple):
    """One dictionary of a sweep and its words."""

    x: float
    y: float
    label: str
    on_front: bool


class Scatter(NamedTuple):
    """Dictionaries by sparsity and a figure, the best of them joined."""

    points: list[Point]
    front: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class Chart(NamedTuple):
    """Series over common axes."""

    series: list[Series]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class _Axis(NamedTuple):
    """Values from one end of an axis to the other."""

    low: float
    high: float

    def across(self, value: float) -> float:
        """Place on the horizontal axis."""
        return round(_x(value, self.low, self.high), 1)

    def up(self, value: float) -> float:
        """Place on the vertical axis."""
        return round(_y((value - self.low) / (self.high - self.low)), 1)

    def marks(self) -> list[Tick]:
        """Two to five round values at equal distances up the vertical axis."""
        step = _step(self.high - self.low)
        places = max(0, -math.floor(math.log10(step)))
        found = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [Tick(self.up(n * step), fixed(n * step, places)) for n in found]


def activations(histogram: Histogram | ActivityView) -> Chart:
    """Tokens by size of activation. Counts are on a log scale: one looks for the few strong activations."""
    edges, top = histogram.edges, math.log10(max(10, *histogram.counts)) * 1.04
    # Equal bins begin at nothing, which has no place on a log axis.
    places = edges if edges[0] == 0 else [math.log2(edge) for edge in edges]

    def height(n: float) -> float:
        # One token must be seen: the axis begins at half a token.
        return (math.log10(n) + 0.3) / (top + 0.3) if n else 0.0

    named = [number(edge, 3) for edge in edges]
    labels = [
        f"{low} to {high}: {count(n)} token{'' if n == 1 else 's'}"
        for (low, high), n in zip(itertools.pairwise(named), histogram.counts, strict=True)
    ]
    bars = _bars(places, [height(n) for n in histogram.counts], labels, places[0], places[-1])
    powers = range(int(top) + 1)
    if edges[0] == 0:
        x_ticks = [Tick(_x(share, 0, 1), number(share * edges[-1], 3)) for share in (0, 0.5, 1)]
    else:  # an edge is a power of two or lies between two
        marked = range(0, len(edges), max(1, -(-len(edges) // 8)))
        x_ticks = [Tick(_x(places[i], places[0], places[-1]), number(edges[i], 2)) for i in marked]
    return Chart(
        series=[Series("tokens", "", bars, "")],  # the only series is drawn as bars
        x_ticks=x_ticks,
        y_ticks=[Tick(round(_y(height(10**p)), 2), count(10**p)) for p in powers],
    )


def sparsity_against(rows: list[SweepRow], name: str) -> Scatter | None:
    """Dictionaries by L0 (log scale) and figure `name`; None where fewer than two have both."""
    found = [(row, row.value("core/l0"), row.value(name)) for row in rows]
    known = [(row, math.log10(l0), y) for row, l0, y in found if l0 and l0 > 0 and y is not None]
    if len(known) < 2:
        return None
    xs, ys = [x for _, x, _ in known], [y for _, _, y in known]
    pad = 0.08 * (max(ys) - min(ys)) or 0.01
    x_axis, y_axis = _Axis(min(xs) - 0.1, max(xs) + 0.1), _Axis(min(ys) - pad, max(ys) + pad)
    points = [
        Point(x_axis.across(x), y_axis.up(y), f"{row.name}: L0 {number(10**x, 3)}, {number(y, 3)}", name in row.fronts)
        for row, x, y in known
    ]
    best = sorted((point.x, point.y) for point in points if point.on_front)
    return Scatter(
        points=points,
        front="M" + "L".join(f"{x} {y}" for x, y in best) if len(best) > 1 else "",
        x_ticks=[Tick(x_axis.across(mark), number(10**mark, 2)) for mark in _round_powers(*x_axis)],
        y_ticks=y_axis.marks(),
    )


def recovery(found: SyntheticReport) -> Scatter | None:
    """Dictionary types and controls by squared error and by how well they find known features; None where fewer than
    two have both. No front: to do well at one is no merit at the other."""
    rows = [*found.types, found.oracle, *found.controls]
    pairs = [(row, row.figures["fvu"].value, row.figures[HEADLINE].value) for row in rows]
    known = [(row, x, y) for row, x, y in pairs if x is not None and y is not None]
    if len(known) < 2:
        return None
    x_axis = _Axis(0.0, 1.06 * max(x for _, x, _ in known) or 1.0)
    y_axis = _Axis(0.0, 1.06 * max(y for _, _, y in known) or 1.0)
    trained = {row.kind for row in found.types}
    points = [
        Point(x_axis.across(x), y_axis.up(y), f"{row.kind}: FVU {number(x, 3)}, F1 {number(y, 3)}", row.kind in trained)
        for row, x, y in known
    ]
    steps = [0.0, *_round_steps(x_axis.high)]
    return Scatter(points, "", [Tick(x_axis.across(x), number(x, 2) if x else "0") for x in steps], y_axis.marks())


def densities(histograms: dict[str, DensityHistogram]) -> Chart:
    """Share of each dictionary's latents by log density, one histogram over the other."""
    low = min(h.edges[0] for h in histograms.values())
    shares = {name: _shares(h) for name, h in histograms.items()}
    top = max((max(values) for values in shares.values()), default=0) or 1.0
    series = []
    for name, h in histograms.items():
        labels = [f"{name}, {bin_}: {count(n)} latents" for bin_, n in zip(density_bins(h), h.counts, strict=True)]
        bars = _bars(h.edges, [share / top for share in shares[name]], labels, low, 0.0)
        dead = f"{count(h.n_dead)} of {count(sum(h.counts) + h.n_dead)} never active"
        series.append(Series(name, dead, bars, _outline(bars)))
    return Chart(
        series=series,
        x_ticks=[Tick(_x(p, low, 0.0), _POWERS.get(p, f"10^{p}")) for p in range(math.ceil(low), 1)],
        y_ticks=[Tick(round(_y(share / top), 2), percent(share)) for share in _round_steps(top)],
    )


def density_bins(histogram: DensityHistogram) -> list[str]:
    """The bins of a density histogram in words."""
    edges = [number(10**edge, 2) for edge in histogram.edges]
    return [f"{low} to {high}" for low, high in itertools.pairwise(edges)]


_POWERS = {
    0: "1",
    -1: "0.1",
    -2: "0.01",
    -3: "10⁻³",
    -4: "10⁻⁴",
    -5: "10⁻⁵",
    -6: "10⁻⁶",
    -7: "10⁻⁷",
    -8: "10⁻⁸",
}


def _step(span: float) -> float:
    """A round distance that fits two to five times into `span`."""
    power: float = 10.0 ** math.floor(math.log10(span))
    return next(s * power for s in (0.2, 0.5, 1, 2, 5) if span / (s * power) < 5.5)


def _round_powers(low: float, high: float) -> list[float]:
    """Logarithms of round values between two logarithms: 10, 20, 50; of more of them where few lie there."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [p + math.log10(digit) for p in powers for digit in (1, 2, 5)]
    if sum(low <= mark <= high for mark in found) < 3:
        found = [p + math.log10(digit) for p in powers for digit in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    return [mark for mark in found if low <= mark <= high]


def _round_steps(top: float) -> list[float]:
    """Two to five round values up to `top`."""
    step = _step(top)
    return [n * step for n in range(1, int(top / step + 1e-9) + 1)]


def _shares(histogram: DensityHistogram) -> list[float]:
    n = max(1, sum(histogram.counts) + histogram.n_dead)
    return [c / n for c in histogram.counts]


def _x(value: float, low: float, high: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1), 2)


def _y(share: float) -> float:
    return BASE - (BASE - TOP) * share


def _bars(edges: list[float], heights: list[float], labels: list[str], low: float, high: float) -> list[Bar]:
    found, places = [], [_x(edge, low, high) for edge in edges]
    for (x, end), height, label in zip(itertools.pairwise(places), heights, labels, strict=False):
        y = _y(height)
        found.append(Bar(x, round(y, 2), round(end - x, 2), round(BASE - y, 2), label))
    return found


def _outline(bars: list[Bar]) -> str:
    """The bars' silhouette as an SVG path."""
    steps = [f"V{bar.y:g}H{bar.x + bar.width:g}" for bar in bars]
    return f"M{bars[0].x:g} {BASE}" + "".join(steps) + f"V{BASE}" if bars else ""
