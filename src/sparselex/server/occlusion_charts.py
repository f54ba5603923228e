"""What is found of two attributes as one is taken out, as shapes for inline SVG in the box of `charts`."""

from collections.abc import Sequence

from sparselex.base.figures import Figure
from sparselex.evaluate.occlusion.records import RANDOM, STRONG, Occlusion, OcclusionPoint, OcclusionRow
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Tick
from sparselex.server.task_charts import Axis, Frontier, Line, Whisker, said

COLOURS = {
    ("weak", STRONG): "k0",
    ("weak", RANDOM): "floor",
    ("strong", STRONG): "k1",
}
"""How each line is drawn: the weak attribute's values as the strong one is taken out, the same as random vectors are,
and the strong one's."""

APART = 2.4
"""Units between marks at one place, so that their intervals do not hide each other."""


def lines_of(one: Occlusion) -> dict[str, str]:
    """What each line is, by its colour."""
    less = {STRONG: f"less {one.strong}", RANDOM: "less random vectors"}
    name = {"weak": one.weak, "strong": one.strong}
    return {colour: f"{name[which]}, {less[removed]}" for (which, removed), colour in COLOURS.items()}


def occlusion_chart(row: OcclusionRow) -> Frontier:
    """Share of values found by how much is subtracted."""
    alphas = [point.alpha for point in row.of(STRONG)]
    axis = Axis(min(alphas) - 0.04, max(alphas) + 0.04, LEFT, WIDTH - RIGHT)
    lines = [
        _line([(point.alpha, _of(point, which)) for point in row.of(removed)], axis, APART * (place - 1), colour)
        for place, ((which, removed), colour) in enumerate(COLOURS.items())
    ]
    return Frontier(
        lines=lines,
        floor=None,
        supervised=None,
        x_ticks=[Tick(axis(alpha), f"{alpha:g}") for alpha in alphas],
        y_ticks=[Tick(_up(share), f"{share:g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
    )


def _of(point: OcclusionPoint, which: str) -> Figure:
    return point.weak if which == "weak" else point.strong


def _line(points: Sequence[tuple[float, Figure]], axis: Axis, shift: float, colour: str) -> Line:
    """One attribute's share; what failed has no mark."""
    marks = list[Whisker]()
    for alpha, figure in points:
        if figure.value is None:
            continue
        low, high = (figure.value if end is None else end for end in (figure.ci_low, figure.ci_high))
        label = f"{alpha:g} of it subtracted: {said(figure)}"
        marks.append(Whisker(round(axis(alpha) + shift, 1), _up(figure.value), _up(low), _up(high), label))
    return Line(colour, "M" + "L".join(f"{mark.x:g} {mark.y:g}" for mark in marks) if marks else "", marks)


def _up(share: float) -> float:
    return round(BASE - (BASE - TOP) * share, 1)
