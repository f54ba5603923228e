"""Plots of the three tests of a task as shapes for inline SVG: edit frontiers in the box of `charts`, and bars in one
that is as high as they are many."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.formats import count, fixed, number
from sparselex.evaluate.supervised.records import SHUFFLED, SUPERVISED, Edit, Row
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Tick

BARS_WIDTH, BARS_LEFT, BARS_RIGHT, BAR = 400.0, 132.0, 40.0, 16.0
"""The box of bars, in units: its width, what names and values take of it, and the height of one bar."""

LOWEST, HIGHEST = -1.0, 2.0
"""Values beyond are drawn at the edge; their number is told beside them."""

APART = 2.4
"""Units between marks of one budget, so that their intervals do not hide each other."""

N_COLOURS = 6


class Whisker(NamedTuple):
    """A value with its interval and its words."""

    x: float
    y: float
    low: float
    high: float
    label: str


class Line(NamedTuple):
    """One row of an edit frontier."""

    kind: str
    path: str
    marks: list[Whisker]


class Level(NamedTuple):
    """A value that does not hang on the budget."""

    at: float
    low: float
    high: float
    label: str


class Frontier(NamedTuple):
    """Agreement by how much was exchanged, for one attribute."""

    lines: list[Line]
    floor: Level | None
    supervised: Level | None
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class BarRow(NamedTuple):
    """One bar, its interval, its null and its words."""

    y: float
    x: float
    width: float
    low: float | None
    high: float | None
    null: float | None
    name: str
    kind: str
    value: str
    label: str


class Bars(NamedTuple):
    """A figure of every row, beside its null."""

    rows: list[BarRow]
    height: float
    x_ticks: list[Tick]
    width: float = BARS_WIDTH
    left: float = BARS_LEFT


class Axis(NamedTuple):
    """Values from one end of an axis to the other, and where in the box these ends are."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn; one beyond an end at that end."""
        inside = min(self.high, max(self.low, value))
        return round(self.left + (self.right - self.left) * (inside - self.low) / ((self.high - self.low) or 1), 1)

    def halves(self) -> list[Tick]:
        """A mark at every half."""
        found = range(math.ceil(2 * self.low), math.floor(2 * self.high) + 1)
        return [Tick(self(n / 2), f"{n / 2:g}".replace("-", "−")) for n in found]


class Edits(NamedTuple):
    """Edits of one attribute in one way, by some rows of a place."""

    rows: Sequence[Row]
    """Rows that are drawn, one of each kind of dictionary."""

    every: Sequence[Row]
    """All rows of the place, which give the colours, and the supervised one among them."""

    attribute: str
    way: str
    floor: Figure | None
    """Agreement without any edit."""

    def of(self, row: Row) -> list[Edit]:
        """Those of one row, by budget."""
        found = [edit for edit in row.edits if (edit.attribute, edit.way) == (self.attribute, self.way)]
        return sorted(found, key=lambda edit: edit.k)

    @property
    def all(self) -> list[Edit]:
        """Those of all rows."""
        return [edit for row in self.rows for edit in self.of(row)]


def kinds_of(rows: Sequence[Row]) -> dict[str, str]:
    """How each kind of dictionary is coloured: by its place among all, but for what is made of labels."""
    found = {SUPERVISED: "of-labels", SHUFFLED: "of-shuffled"}
    names = dict.fromkeys(row.name for row in rows)
    found |= {name: "of-labels" for name in names if name.startswith(SUPERVISED)}
    others = [name for name in names if name not in found]
    again = lambda place: " again" if place >= N_COLOURS else ""
    return found | {name: f"k{place % N_COLOURS}{again(place)}" for place, name in enumerate(others)}


def by_budget(edits: Edits) -> Frontier:
    """Agreement by how many latents are exchanged (log scale)."""
    budgets = sorted({edit.k for edit in edits.all}) or [1]
    axis = Axis(math.log2(budgets[0]) - 0.25, math.log2(budgets[-1]) + 0.25, LEFT, WIDTH - RIGHT)
    ticks = [Tick(axis(math.log2(k)), str(k)) for k in budgets]
    return _frontier(edits, lambda edit: axis(math.log2(edit.k)), APART, ticks)


def by_removed(edits: Edits) -> Frontier:
    """Agreement by the share of the reconstruction that was taken out."""
    axis = Axis(*_ends(edit.removed for edit in edits.all), LEFT, WIDTH - RIGHT)
    return _frontier(edits, lambda edit: axis(edit.removed), 0.0, axis.halves())


def bars(rows: Sequence[Row], figure_of: Callable[[Row], Figure | None]) -> Bars:
    """One figure of every row that has it, as bars from 0, with their intervals and their nulls."""
    found = [(row, figure) for row in rows if (figure := figure_of(row)) is not None]
    ends = [end for _, one in found for end in (one.value, one.ci_low, one.ci_high) if end is not None]
    axis, kinds = Axis(*_ends(ends), BARS_LEFT, BARS_WIDTH - BARS_RIGHT), kinds_of(rows)
    made = [_bar(place, row, figure, axis, kinds[row.name]) for place, (row, figure) in enumerate(found)]
    return Bars(made, BAR * len(made), axis.halves())


def titled(row: Row) -> str:
    """A row's name with its sparsity, where it was asked for one."""
    return f"{row.name} {row.setting}" if row.setting not in ("", "all") else row.name


def said(figure: Figure) -> str:
    """A figure in one line: value, interval, null and n."""
    if figure.value is None:
        return f"not measured: {figure.failure}"
    between = "" if figure.ci_low is None else f" ({number(figure.ci_low, 3)} … {number(figure.ci_high, 3)})"
    null = "" if figure.null is None else f", null {number(figure.null, 3)}"
    return f"{number(figure.value, 3)}{between}{null}, n {count(figure.n)}"


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """From 0 to 1, or as far as values go."""
    known = [0.0, 1.0, *values]
    return max(LOWEST, min(known)), min(HIGHEST, max(known))


def _bar(place: int, row: Row, figure: Figure, axis: Axis, kind: str) -> BarRow:
    at = lambda value: None if value is None else axis(value)
    zero, end = axis(0.0), axis(figure.value or 0.0)
    return BarRow(
        y=BAR * place,
        x=min(zero, end),
        width=round(abs(end - zero), 1),
        low=at(figure.ci_low),
        high=at(figure.ci_high),
        null=at(figure.null),
        name=titled(row),
        kind=kind,
        value="–" if figure.value is None else fixed(figure.value, 2),
        label=f"{titled(row)}: {said(figure)}",
    )


def _frontier(edits: Edits, across: Callable[[Edit], float], apart: float, x_ticks: list[Tick]) -> Frontier:
    kinds, drawn = kinds_of(edits.every), [row for row in edits.rows if edits.of(row)]
    shift = lambda place: apart * (place - (len(drawn) - 1) / 2)
    found = (edit for row in edits.every if row.name == SUPERVISED for edit in row.edits)
    of_labels = next((edit.agreement for edit in found if edit.attribute == edits.attribute), None)
    return Frontier(
        lines=[_line(row, edits.of(row), across, shift(place), kinds[row.name]) for place, row in enumerate(drawn)],
        floor=_level("no edit", edits.floor),
        supervised=_level(SUPERVISED, of_labels),
        x_ticks=x_ticks,
        y_ticks=[Tick(_up(share), f"{share:g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
    )


def _line(row: Row, edits: Sequence[Edit], across: Callable[[Edit], float], shift: float, kind: str) -> Line:
    """A row's edits by budget; what failed has no mark."""
    marks = []
    for edit in edits:
        label = f"{titled(row)}, {edit.k} at most, {number(edit.removed, 2)} removed"
        if level := _level(label, edit.agreement):
            marks.append(Whisker(round(across(edit) + shift, 1), *level))
    return Line(kind, "M" + "L".join(f"{mark.x:g} {mark.y:g}" for mark in marks) if marks else "", marks)


def _level(name: str, figure: Figure | None) -> Level | None:
    if figure is None or figure.value is None:
        return None
    low, high = (figure.value if end is None else end for end in (figure.ci_low, figure.ci_high))
    return Level(_up(figure.value), _up(low), _up(high), f"{name}: {said(figure)}")


def _up(share: float) -> float:
    return round(BASE - (BASE - TOP) * share, 1)
