"""From leads to automata: latents that lead to each other in circles, few enough to be drawn. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from sparselex.atlas.automata.leads import Leads


class Circle(NamedTuple):
    """Latents that can all be come to from each other."""

    latents: NDArray[np.int64]
    """`[n]`, ascending."""

    strength: float
    """The largest weight such that its leads of that weight or more still hold it together."""


def circles(leads: Leads, most: int) -> list[Circle]:
    """Sets of two latents to `most` that lead to each other in circles, the strongest first.

    Strongly connected components are such sets; one of more than `most` latents is taken apart at the smallest weight
    above which its leads no longer connect it, and so on within what remains.
    """
    loops = leads.source == leads.target
    found, waiting = list[Circle](), [leads.of(~loops)]
    while waiting:
        part = waiting.pop()
        for latents in _components(part):
            inside = part.of(np.isin(part.source, latents) & np.isin(part.target, latents))
            strength = _holds_until(inside, len(latents))
            if len(latents) <= most:
                found.append(Circle(latents, strength))
            else:
                waiting.append(inside.of(inside.weight > strength))
    return sorted(found, key=lambda one: (-one.strength, one.latents.tolist()))


def merged(alike: NDArray[np.bool_]) -> list[list[int]]:
    """Numbers that are alike, directly or by others between them, together: `alike` is `[n, n]` and symmetric."""
    _, label = connected_components(csr_matrix(alike), directed=False)
    return [np.flatnonzero(label == one).tolist() for one in dict.fromkeys(label.tolist())]


def _components(leads: Leads) -> list[NDArray[np.int64]]:
    """Strongly connected sets of two latents or more."""
    latents, numbers = np.unique(np.concatenate([leads.source, leads.target]), return_inverse=True)
    source, target = numbers.reshape(2, -1)
    graph = csr_matrix((np.ones(len(source)), (source, target)), shape=(len(latents), len(latents)))
    n, label = connected_components(graph, directed=True, connection="strong")
    large = np.flatnonzero(np.bincount(label, minlength=n) > 1)
    return [latents[label == one] for one in large]


def _holds_until(leads: Leads, n: int) -> float:
    """The largest weight such that leads of that weight or more connect all `n` latents in circles."""
    values = np.unique(leads.weight)
    low, high = 0, len(values)  # those from values[low] on connect them, those from values[high] on do not
    while high - low > 1:
        middle = (low + high) // 2
        whole = any(len(one) == n for one in _components(leads.of(leads.weight >= values[middle])))
        low, high = (middle, high) if whole else (low, middle)
    return float(values[low])
