"""What methods found in an example, as bars beside what as many random directions reach."""

from sparselex.base.formats import number
from sparselex.evaluate.doomed.records import CHANCE_95, ExampleFound, MethodRow
from sparselex.server.charts import Tick
from sparselex.server.task_charts import BAR, Axis, BarRow, Bars, said

COLOURS = {"activations": "k0", "model": "k1", "truth": "of-labels", "chance": "of-shuffled"}
"""How bars are coloured: by what a method is given."""

SEES = {
    "activations": "sees activations alone",
    "model": "sees gradients or outputs of the model",
    "truth": "the model itself",
    "chance": "nothing learnt",
}
"""What that is in words."""

WIDTH, LEFT, RIGHT = 560.0, 230.0, 50.0
"""The box of bars, in units, and what names and values take of it."""


def bars_of(one: ExampleFound, measure: str) -> Bars:
    """One measure of every method that has it; the mark is what 95 % of draws of random directions stay below."""
    rows = [row for row in one.rows if measure in row.figures]
    figures = [row.figures[measure] for row in rows]
    ends = [end for figure in figures for end in (figure.value, figure.ci_high) if end is not None]
    axis = Axis(0.0, max([1.0, *ends]), LEFT, WIDTH - RIGHT)
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if axis.high / step < 6.5)
    ticks = [Tick(axis(n * step), f"{n * step:g}") for n in range(int(axis.high / step + 1e-9) + 1)]
    made = [_bar(place, row, measure, axis) for place, row in enumerate(rows)]
    return Bars(made, BAR * len(made), ticks, WIDTH, LEFT)


def kinds_in(one: ExampleFound) -> dict[str, str]:
    """The colours that an example has, with their words."""
    return {COLOURS[sees]: SEES[sees] for sees in COLOURS if any(row.sees == sees for row in one.rows)}


def _bar(place: int, row: MethodRow, measure: str, axis: Axis) -> BarRow:
    figure, zero = row.figures[measure], axis(0.0)
    at = lambda value: None if value is None else axis(value)
    return BarRow(
        y=BAR * place,
        x=zero,
        width=round(axis(figure.value or 0.0) - zero, 1),
        low=at(figure.ci_low),
        high=at(figure.ci_high),
        null=at(figure.controls.get(CHANCE_95)),
        name=row.called,
        kind=COLOURS[row.sees],
        value=number(figure.value, 3),
        label=f"{row.called}: {said(figure)}",
    )
