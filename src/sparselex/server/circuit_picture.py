"""A picture of a circuit as shapes for inline SVG: tokens across, layers upwards, a mark for each head.

A head's query, key and value stand beneath the outputs of the same layer, which are made of them. From the stream of
the token at which an output looks a line leads to it, the wider the more it looks there."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sparselex.base.formats import fixed
from sparselex.base.sites import Hook
from sparselex.evaluate.supervised.records import Head
from sparselex.server.charts import Tick

STEP, BAND, BETWEEN = 34.0, 44.0, 22.0
"""Units between marks, between rows of marks, and what is left between layers."""

LARGEST, SMALLEST = 11.0, 3.5
"""Radius of the largest and of the smallest mark."""

LEFT, TOP, BOTTOM = 48.0, 12.0, 26.0
PER_ROW = 4
"""Marks of one token and layer side by side; of more there are several rows."""

FOOT, APART = 20.0, 3.0
"""Units beneath the lowest marks of a layer at which lines begin, and between those that come from different tokens."""

LEAST_LOOK = 0.1
"""Attention below which no line is drawn."""

KINDS = {
    "writes": "output that writes the answer",
    "tells": "output at the last token that tells later heads",
    "moves": "output at another token",
    "value": "value",
    "key": "key",
    "query": "query",
}
"""Kinds of marks in words."""

_PARTS = {"attn.hook_q": "query", "attn.hook_k": "key", "attn.hook_v": "value"}
_END = "end"


class HeadMark(NamedTuple):
    """One head at one token."""

    x: float
    y: float
    path: str
    kind: str
    against: bool
    top: float
    name: str
    label: str


class Look(NamedTuple):
    """Where an output looks."""

    path: str
    width: float
    kind: str
    label: str


class Picture(NamedTuple):
    """All of it, in a box of its own size."""

    width: float
    height: float
    base: float
    marks: list[HeadMark]
    looks: list[Look]
    roles: list[Tick]
    layers: list[Tick]
    kinds: dict[str, str]


def kind_of(head: Head) -> str:
    """What is drawn for a head: one of `KINDS`."""
    part = _PARTS.get(Hook(head.hook).site, "")
    return part or ("writes" if head.writes else "tells" if head.role == _END else "moves")


def circuit_picture(heads: Sequence[Head]) -> Picture | None:
    """The heads of a circuit; None where there is none. The mark of a head has an area in proportion to its effect."""
    if not heads:
        return None
    cells = _cells(heads)
    columns, right = _columns(cells)
    rows, base = _rows(cells)
    largest = max(abs(head.effect) for head in heads)
    marks, looks = list[HeadMark](), list[Look]()
    for head, x, y, foot in _placed(cells, columns, rows):
        marks.append(_mark(head, x, y, largest))
        looks += _looks(head, marks[-1], columns, foot)
    kinds = {mark.kind for mark in marks}
    return Picture(
        width=right,
        height=base + BOTTOM,
        base=base,
        marks=marks,
        looks=looks,
        roles=[Tick(x, role) for role, x in columns.items()],
        layers=[Tick(y, f"layer {layer}") for layer, y in rows.items()],
        kinds={kind: words for kind, words in KINDS.items() if kind in kinds},
    )


Cells = Mapping[tuple[int, str], list[list[Head]]]
"""Of each layer and token the rows of heads, the uppermost first."""


def _cells(heads: Iterable[Head]) -> Cells:
    """Outputs above, what these are made of beneath."""
    found: dict[tuple[int, str], tuple[list[Head], list[Head]]] = {}
    for head in heads:
        above, beneath = found.setdefault((Hook(head.hook).layer or 0, head.role), ([], []))
        (beneath if Hook(head.hook).site in _PARTS else above).append(head)
    return {cell: [*_cut(above), *_cut(beneath)] for cell, (above, beneath) in found.items()}


def _cut(heads: Sequence[Head]) -> Iterator[list[Head]]:
    for start in range(0, len(heads), PER_ROW):
        yield list(heads[start : start + PER_ROW])


def _columns(cells: Cells) -> tuple[dict[str, float], float]:
    """Where the stream of each token is drawn, and the right end; tokens that nothing was found at are there where
    some head looks at them."""
    found, x = dict[str, float](), LEFT
    for role in _roles([head for lines in cells.values() for line in lines for head in line]):
        widest = max((len(line) for (_, where), lines in cells.items() if where == role for line in lines), default=0)
        found[role] = x
        x += max(2.0, widest + 0.75) * STEP
    return found, x


def _roles(heads: Sequence[Head]) -> list[str]:
    """Tokens in the order of the task, which `looks_at` keeps, the last token last."""
    looked = [role for head in heads for role, share in head.looks_at.items() if share >= LEAST_LOOK]
    wanted = {head.role for head in heads} | set(looked)
    order = dict.fromkeys([*(role for head in heads for role in head.looks_at), *(head.role for head in heads)])
    return sorted((role for role in order if role in wanted), key=lambda role: role == _END)


def _rows(cells: Cells) -> tuple[dict[int, float], float]:
    """The lowest row of marks of each layer that has any, the last layer on top, and the foot of the picture."""
    found, y = dict[int, float](), TOP
    for layer in sorted({layer for layer, _ in cells}, reverse=True):
        y += BAND * max(len(lines) for (of, _), lines in cells.items() if of == layer)
        found[layer] = y - BAND / 2
        y += BETWEEN
    return found, y


def _placed(
    cells: Cells, columns: Mapping[str, float], rows: Mapping[int, float]
) -> Iterator[tuple[Head, float, float, float]]:
    """Every head with the middle of its mark, and the height at which lines to its layer begin."""
    for (layer, role), lines in cells.items():
        for above, line in enumerate(reversed(lines)):
            for number, head in enumerate(line):
                yield head, columns[role] + STEP * (number + 0.75), rows[layer] - BAND * above, rows[layer] + FOOT


def _mark(head: Head, x: float, y: float, largest: float) -> HeadMark:
    hook, kind = Hook(head.hook), kind_of(head)
    name = f"{hook.layer}.{hook.head}"
    said = f"{name} at {head.role}, {KINDS[kind]}: effect {fixed(head.effect, 3)}, straight {fixed(head.direct, 3)}"
    looks = ", ".join(f"{role} {share:.2f}" for role, share in head.looks_at.items() if share >= LEAST_LOOK)
    radius = _radius(head, largest)
    return HeadMark(
        x=round(x, 1),
        y=round(y, 1),
        path=_shape(kind, x, y, radius),
        kind=kind,
        against=head.effect < 0,
        top=round(y - radius - 3, 1),
        name=name,
        label=f"{said}; looks at {looks}" if looks else said,
    )


def _radius(head: Head, largest: float) -> float:
    return max(SMALLEST, round(LARGEST * math.sqrt(abs(head.effect) / largest), 1)) if largest else SMALLEST


_CORNERS = {
    "value": ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)),
    "key": ((0.0, -1.41), (1.41, 0.0), (0.0, 1.41), (-1.41, 0.0)),
    "query": ((0.0, -1.52), (1.52, 1.1), (-1.52, 1.1)),
}
"""Of what outputs are made of the corners, in halves of the side of a square with the area of the circle."""


def _shape(kind: str, x: float, y: float, radius: float) -> str:
    """A circle for outputs; square, diamond and triangle for what they are made of."""
    if kind in _CORNERS:
        half = radius * math.sqrt(math.pi) / 2
        return "M" + "L".join(f"{x + half * dx:.1f} {y + half * dy:.1f}" for dx, dy in _CORNERS[kind]) + "Z"
    half_turn = f"a{radius} {radius} 0 0 0"
    return f"M{x - radius:.2f} {y:.2f}{half_turn} {2 * radius:.2f} 0{half_turn} {-2 * radius:.2f} 0Z"


def _looks(head: Head, mark: HeadMark, columns: Mapping[str, float], foot: float) -> Iterator[Look]:
    """Lines from the streams of the tokens at which an output looks, its own left out. Those of different tokens leave
    at different heights, so that one does not lie on another."""
    for number, (role, x) in enumerate(columns.items()):
        share = head.looks_at.get(role, 0.0)
        if share < LEAST_LOOK or role == head.role:
            continue
        start = foot + APART * number
        bend = (x + 2 * mark.x) / 3
        path = f"M{x:.1f} {start:.1f}C{bend:.1f} {start:.1f} {mark.x:.1f} {start:.1f} {mark.x:.1f} {mark.y:.1f}"
        yield Look(path, round(0.6 + 4 * share, 2), mark.kind, f"{mark.name} looks at {role}: {share:.2f}")
