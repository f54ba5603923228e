"""A latent with what it came of and what it becomes, as boxes and lines: a column for each dictionary, the narrowest
left."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

BOX, ROW, GAP = 190, 30, 90
"""Width of a box, distance from one to the next below it, and between columns, in units."""

HEAD = 34
"""Room above the boxes for the name of the dictionary."""


class Box(NamedTuple):
    """A latent in the picture."""

    level: int
    latent: int
    x: float
    y: float
    """Its upper left corner."""


class Line(NamedTuple):
    """A link in the picture."""

    path: str
    width: float
    label: str


class Column(NamedTuple):
    """A dictionary in the picture."""

    x: float
    level: int


class FamilyPicture(NamedTuple):
    """All of it."""

    columns: list[Column]
    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float


def family_picture(members: Mapping[int, Sequence[int]], links: Sequence[tuple[int, int, int, float]]) -> FamilyPicture:
    """Places of latents so that lines cross little.

    Args:
        members: by level, ascending, its latents.
        links: `(level, narrow latent, wide latent, how alike)`, from a level to the next.
    """
    columns = [Column(place * (BOX + GAP), level) for place, level in enumerate(members)]
    rows = _rows(members, links)
    most = max((len(latents) for latents in members.values()), default=0)
    boxes = [
        Box(column.level, latent, column.x, HEAD + ROW * (row + (most - len(rows[column.level])) / 2))
        for column in columns
        for row, latent in enumerate(rows[column.level])
    ]
    at = {(box.level, box.latent): box for box in boxes}
    lines = []
    for level, narrow, wide, link in links:
        left, right = at[level, narrow], at[level + 1, wide]
        x, y, end, below = left.x + BOX, left.y + ROW / 2 - 3, right.x, right.y + ROW / 2 - 3
        path = f"M{x:g} {y:g}C{x + GAP / 2:g} {y:g} {end - GAP / 2:g} {below:g} {end:g} {below:g}"
        lines.append(Line(path, round(0.5 + 3 * link**2, 2), f"{narrow} to {wide}: {link:.2f}"))
    width = columns[-1].x + BOX if columns else 0
    return FamilyPicture(columns, boxes, lines, width + 2, HEAD + ROW * max(1, most))


def _rows(members: Mapping[int, Sequence[int]], links: Sequence[tuple[int, int, int, float]]) -> dict[int, list[int]]:
    """The latents of each level from top to bottom: each at the mean height of those of the level before that it is
    linked to, from the smallest level outwards."""
    rows = {level: list(latents) for level, latents in members.items()}
    if not rows:
        return rows
    first = min(rows, key=lambda level: len(rows[level]))
    for level in (one for one in rows if one > first):
        near = [(wide, narrow, link) for at, narrow, wide, link in links if at == level - 1]
        rows[level] = _sorted(rows[level], rows[level - 1], near)
    for level in (one for one in reversed(rows) if one < first):
        near = [(narrow, wide, link) for at, narrow, wide, link in links if at == level]
        rows[level] = _sorted(rows[level], rows[level + 1], near)
    return rows


def _sorted(latents: list[int], beside: list[int], links: list[tuple[int, int, float]]) -> list[int]:
    heights = {latent: row for row, latent in enumerate(beside)}

    def height(latent: int) -> float:
        near = [(heights[other], link) for own, other, link in links if own == latent]
        return sum(at * link for at, link in near) / sum(link for _, link in near) if near else len(beside) / 2

    return sorted(latents, key=height)
