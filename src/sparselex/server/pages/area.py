"""What a reader has chosen on a map: a rectangle, a lasso or a cluster, as an address writes it."""

import re
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, StringConstraints

MOST_CORNERS = 200
"""Corners of a lasso."""

_CLUSTER = re.compile(r"cluster:(\d{1,9})")
_NUMBER = r"-?\d{1,9}(?:\.\d{1,9})?"
_CORNERS = re.compile(rf"{_NUMBER}(?:,{_NUMBER})+")


class Area(NamedTuple):
    """Part of a map."""

    cluster: int | None
    """A cluster, or None."""

    corners: NDArray[np.float64]
    """`[n, 2]`, else the corners of a polygon; none for the whole map."""

    def holds(self, places: NDArray[np.float32], cluster: NDArray[np.int32]) -> NDArray[np.bool_]:
        """`[n]`, whether each place lies in it."""
        if self.cluster is not None:
            return cluster == self.cluster
        inside = np.zeros(len(places), dtype=bool)
        if not len(self.corners):
            return ~inside
        x, y = places.astype(np.float64).T
        # A ray to the right crosses the outline an odd number of times from within.
        for (x0, y0), (x1, y1) in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            if y0 != y1:
                inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        return inside


def area_of(text: str) -> Area:
    """What `sel=` says: `cluster:3`, a rectangle `x0,y0,x1,y1`, or a lasso of three corners or more,
    `x,y,x,y,x,y`. Raises `ValueError` for anything else."""
    nowhere = np.zeros((0, 2))
    if not text:
        return Area(None, nowhere)
    if found := _CLUSTER.fullmatch(text):
        return Area(int(found[1]), nowhere)
    numbers = [float(part) for part in text.split(",")] if _CORNERS.fullmatch(text) else []
    if len(numbers) == 4:
        x0, y0, x1, y1 = numbers
        return Area(None, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))
    if len(numbers) % 2 or not 3 <= len(numbers) // 2 <= MOST_CORNERS:
        raise ValueError("a rectangle x0,y0,x1,y1, a lasso x,y,x,y,x,y,... or cluster:NUMBER")
    return Area(None, np.array(numbers).reshape(-1, 2))


def _checked(text: str) -> str:
    area_of(text)
    return text


Selection = Annotated[str, StringConstraints(max_length=6000), AfterValidator(_checked)]
"""What `sel=` may say."""
