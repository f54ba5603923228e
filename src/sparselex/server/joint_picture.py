"""Latents of several dictionaries on a plane as marks: a shape and a colour for each dictionary, the widest beneath."""

from collections.abc import Sequence
from typing import NamedTuple

SIDE = 720
"""Sides of the square, in units."""

N_SHAPES = 6
"""Shapes and colours, which dictionaries take in turn, the narrowest first."""


class Mark(NamedTuple):
    """A latent in the picture."""

    x: float
    y: float
    point: int
    """Which of the points it is."""


class Layer(NamedTuple):
    """The latents of one dictionary."""

    number: int
    """Which dictionary."""

    shape: int
    marks: list[Mark]


class Window(NamedTuple):
    """The part of the plane that is seen."""

    x0: float
    y0: float
    x1: float
    y1: float


def joint_picture(run: Sequence[int], places: Sequence[tuple[float, float]], window: Window) -> list[Layer]:
    """Layers from the lowest to the highest.

    Args:
        run: of which dictionary each point is.
        places: where each lies.
        window: what is seen, a square.
    """
    scale = SIDE / ((window.x1 - window.x0) or 1.0)
    marks = dict[int, list[Mark]]()
    for point, (number, (x, y)) in enumerate(zip(run, places, strict=True)):
        mark = Mark(round((x - window.x0) * scale, 1), round((window.y1 - y) * scale, 1), point)
        marks.setdefault(number, []).append(mark)
    return [Layer(number, number % N_SHAPES, marks[number]) for number in sorted(marks, reverse=True)]
