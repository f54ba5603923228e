"""Pictures of how well explanations do: latents by how well, and how well by size of activation; in the box of
`charts`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparselex.base.formats import count, number, percent
from sparselex.evaluate.intervals.records import IntervalPopulation
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Bar, Chart, Series, Tick

NULL = "another latent’s rule"
"""What the null is called in pictures."""


class Curve(NamedTuple):
    """One line of a picture."""

    name: str
    path: str
    points: list[tuple[float, float, str]]
    """Places of its values, and words for each."""


class Curves(NamedTuple):
    """Lines over common axes."""

    lines: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def histogram_of(counts: Mapping[str, Sequence[int]], low: float, high: float, *, from_: float) -> Chart:
    """Shares of several kinds of latents by a value, each drawn over the other.

    Args:
        counts: by name, latents in equal bins from `low` to `high`.
        low, high: ends of the first and the last bin.
        from_: where the picture begins: an edge; what lies below is in the table alone.
    """
    shares = {name: [n / max(1, sum(each)) for n in each] for name, each in counts.items()}
    top = max((max(each) for each in shares.values()), default=0) or 1.0
    series = []
    for name, each in shares.items():
        step, bars = (high - low) / len(each), list[Bar]()
        for place, share in enumerate(each):
            left = low + place * step
            if left < from_ - 1e-9:
                continue
            x, end = _across(left, from_, high), _across(left + step, from_, high)
            words = f"{name}, {number(left, 2)} to {number(left + step, 2)}: {percent(share)}"
            y = _up(share / top)
            bars.append(Bar(x, y, round(end - x, 2), round(BASE - y, 2), words))
        steps = "".join(f"V{bar.y:g}H{bar.x + bar.width:g}" for bar in bars)
        note = f"{count(sum(counts[name]))} latents"
        series.append(Series(name, note, bars, f"M{bars[0].x:g} {BASE}{steps}V{BASE}" if bars else ""))
    distance = 0.2 if high - from_ <= 1 else 0.5
    marks = [from_ + distance * place for place in range(round((high - from_) / distance) + 1)]
    return Chart(
        series=series,
        x_ticks=[Tick(_across(mark, from_, high), number(mark, 2) if abs(mark) > 1e-9 else "0") for mark in marks],
        y_ticks=[Tick(_up(part), percent(part * top)) for part in (0.5, 1.0)],
    )


def curves_of(populations: Sequence[IntervalPopulation]) -> Curves:
    """The mean share that rules call active by interval of activation: of a run, by rules of other latents, and of its
    controls; an interval in which nothing counts is a gap."""
    lines = list[Curve]()
    for place, one in enumerate(populations):
        lines.append(_curve(one.run, [(point.low, point.high, point.mean) for point in one.curve]))
        if not place:
            lines.append(_curve(NULL, [(point.low, point.high, point.null_mean) for point in one.curve]))
    return Curves(
        lines=lines,
        x_ticks=[Tick(_across(part, 0, 1), percent(part)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)],
        y_ticks=[Tick(_up(part), percent(part)) for part in (0.0, 0.5, 1.0)],
    )


def _curve(name: str, values: Sequence[tuple[float, float, float | None]]) -> Curve:
    path, points, pen = "", list[tuple[float, float, str]](), "M"
    for low, high, value in values:
        if value is None:
            pen = "M"
            continue
        x, y = _across((low + high) / 2, 0, 1), _up(value)
        path += f"{pen}{x:g} {y:g}"
        pen = "L"
        points.append((x, y, f"{name}, {percent(low)} to {percent(high)}: {percent(value)}"))
    return Curve(name, path, points)


def _across(value: float, low: float, high: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 2)


def _up(share: float) -> float:
    return round(BASE - (BASE - TOP) * share, 2)
