"""Where the states and arrows of an automaton stand in its picture."""

import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 720.0, 470.0
"""Size of a picture, in units."""

_BOX_W, _BOX_H = 136.0, 46.0
_REACH_X, _REACH_Y = 276.0, 165.0
_LOOP = 52.0
_BEND, _WIDE_BEND = 0.1, 0.24
"""How far arrows bend, as a share of their length: by one and by the other where they go around the oval one way and
the other, so that two that go to and fro lie apart."""

_WORDS_AT = 0.42
"""Where on an arrow its words stand: near the middle, where others cross it, words would lie over each other."""

_WIDEST, _THINNEST = 4.0, 1.0


class Box(NamedTuple):
    """A state in the picture."""

    x: float
    """Its left edge."""

    y: float
    """Its upper edge."""

    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle."""
        return self.x + self.width / 2, self.y + self.height / 2


class Drawn(NamedTuple):
    """An arrow in the picture."""

    path: str
    width: float
    x: float
    """Where its words stand."""

    y: float


class Picture(NamedTuple):
    """All that is drawn, in the order in which it was given."""

    boxes: list[Box]
    arrows: list[Drawn]


def picture(n_states: int, arrows: Sequence[tuple[int, int, float]]) -> Picture:
    """States around an oval, those near each other that arrows lead between; `arrows` are source, target and weight, by
    which they are wide."""
    places = _places(n_states, arrows)
    boxes = [_box(place, n_states) for place in places]
    most = max((weight for _, _, weight in arrows), default=1.0) or 1.0
    drawn = []
    for source, target, weight in arrows:
        width = round(max(_THINNEST, _WIDEST * max(weight, 0.0) / most), 1)
        if source == target:
            drawn.append(_loop(boxes[source], width))
        else:
            steps = (places[target] - places[source]) % n_states
            drawn.append(_arrow(boxes[source], boxes[target], width, _bend(steps, n_states)))
    return Picture(boxes, drawn)


def _places(n: int, arrows: Sequence[tuple[int, int, float]]) -> list[int]:
    """Where around the oval each state stands: two change places as long as arrows, clockwise ones above all, become
    shorter by it."""
    places = list(range(n))

    def length() -> float:
        steps = [((places[target] - places[source]) % n, weight) for source, target, weight in arrows]
        return sum(weight * min(one, 1.2 * (n - one)) for one, weight in steps)

    best = length()
    while True:
        for one in range(n):
            for other in range(one):
                places[one], places[other] = places[other], places[one]
                if (now := length()) < best - 1e-9:
                    best = now
                    break
                places[one], places[other] = places[other], places[one]
            else:
                continue
            break
        else:
            return places


def _bend(steps: int, n: int) -> float:
    """Towards the middle of the oval, where there are no states: on the right of what goes clockwise, on the left of
    what goes the other way, but for one that goes back to its neighbour."""
    if n == 2 or steps == n - 1:
        return 0.18
    return _BEND if 2 * steps <= n else -_WIDE_BEND


def _box(number: int, n: int) -> Box:
    angle = 2 * math.pi * number / n - (math.pi if n == 2 else math.pi / 2)
    reach = 0.0 if n == 1 else 1.0
    x, y = WIDTH / 2 + reach * _REACH_X * math.cos(angle), HEIGHT / 2 + reach * _REACH_Y * math.sin(angle)
    return Box(round(x - _BOX_W / 2, 1), round(y - _BOX_H / 2, 1), _BOX_W, _BOX_H)


def _arrow(one: Box, other: Box, width: float, bend: float) -> Drawn:
    (x0, y0), (x1, y1) = one.middle, other.middle
    bend_x, bend_y = (x0 + x1) / 2 - (y1 - y0) * bend, (y0 + y1) / 2 + (x1 - x0) * bend
    start, end = _edge(one, bend_x, bend_y), _edge(other, bend_x, bend_y, 7.0)
    t = _WORDS_AT
    at = [
        (1 - t) ** 2 * first + 2 * t * (1 - t) * way + t**2 * last
        for first, way, last in zip(start, (bend_x, bend_y), end, strict=True)
    ]
    path = f"M{start[0]} {start[1]}Q{round(bend_x, 1)} {round(bend_y, 1)} {end[0]} {end[1]}"
    return Drawn(path, width, round(at[0], 1), round(at[1], 1))


def _loop(box: Box, width: float) -> Drawn:
    """Away from the middle of the picture, upwards where the state is there."""
    x, y = box.middle
    up = -1.0 if y <= HEIGHT / 2 + 1 else 1.0
    edge = y + up * (box.height / 2 + 1)
    far = edge + up * _LOOP
    path = f"M{x - 16} {edge}C{x - 44} {far} {x + 44} {far} {x + 16} {edge + up * 6}"
    return Drawn(path, width, round(x, 1), round(edge + up * _LOOP * 0.86, 1))


def _edge(box: Box, x: float, y: float, gap: float = 0.0) -> tuple[float, float]:
    """Where a line from the middle of a box to a point leaves it, and some way on."""
    middle_x, middle_y = box.middle
    way_x, way_y = x - middle_x, y - middle_y
    length = math.hypot(way_x, way_y) or 1.0
    out = min(
        box.width / 2 / abs(way_x) if way_x else math.inf,
        box.height / 2 / abs(way_y) if way_y else math.inf,
    )
    return round(middle_x + way_x * (out + gap / length), 1), round(middle_y + way_y * (out + gap / length), 1)
