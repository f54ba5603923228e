"""The latents of a text as a grid of tokens and latents: which are shown, in what order, and its cells as HTML."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from sparselex.base.formats import number
from sparselex.server.live_records import TextFound

By = Literal["max", "mean", "tokens"]
"""What latents are ranked by: the largest activation on the text, its mean over the counted tokens, or on how many of
them they are active; sizes, where activations are signed."""

LEVELS = 10


class Overall(NamedTuple):
    """Each latent that is active on a text, ascending."""

    latents: NDArray[np.int32]
    """`[n]`, its number."""

    max: NDArray[np.float64]
    """`[n]`, its largest activation by size."""

    mean: NDArray[np.float64]
    """`[n]`, the mean size over the counted tokens."""

    tokens: NDArray[np.int64]
    """`[n]`, tokens on which it is active."""

    def ranked(self, by: By) -> NDArray[np.int64]:
        """Places of all, the foremost first."""
        return np.lexsort((self.latents, -getattr(self, by).astype(np.float64)))


def overall(found: TextFound) -> Overall:
    """What each active latent is on a text."""
    latents, owner = np.unique(found.latents, return_inverse=True)
    sizes = np.abs(found.values.astype(np.float64))
    largest = np.zeros(len(latents))
    np.maximum.at(largest, owner, sizes)
    total = np.bincount(owner, sizes, len(latents))
    n_counted = max(1, sum(found.counted))
    return Overall(latents, largest, total / n_counted, np.bincount(owner, minlength=len(latents)))


def matrix(found: TextFound, latents: Sequence[int]) -> NDArray[np.float32]:
    """`[n, ctx]`, activations of these latents at each token; 0 where they are silent."""
    numbers = np.asarray(latents, dtype=np.int64)
    made = np.zeros((len(numbers), len(found.tokens)), dtype=np.float32)
    order = np.argsort(numbers, kind="stable")
    if len(numbers):
        at = np.searchsorted(numbers[order], found.latents).clip(max=len(numbers) - 1)
        there = numbers[order][at] == found.latents
        made[order[at[there]], found.places[there]] = found.values[there]
    return made


def by_similarity(rows: NDArray[np.float32]) -> list[int]:
    """The order of the leaves of a dendrogram, so that rows that are alike lie beside each other: average linkage by
    cosine; of two branches that meet, the one with the earlier row comes first."""
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, sizes, out=np.zeros_like(rows), where=sizes > 0)
    near = (unit @ unit.T).astype(np.float64)
    np.fill_diagonal(near, -np.inf)
    branches: list[list[int]] = [[row] for row in range(len(rows))]
    for _ in range(len(rows) - 1):
        first, second = sorted(divmod(int(near.argmax()), len(rows)))
        n, m = len(branches[first]), len(branches[second])
        joined = (n * near[first] + m * near[second]) / (n + m)
        near[first] = near[:, first] = joined
        near[second] = near[:, second] = -np.inf
        near[first, first] = -np.inf
        branches[first] = branches[first] + branches[second]
        branches[second] = []
    return branches[0] if branches else []


def level(value: float, largest: float) -> int:
    """Heat from 0 (silent) to 10, relative to the latent's largest activation in the corpus; a text may exceed it."""
    return max(1, min(LEVELS, int(np.ceil(LEVELS * abs(value) / largest)))) if value and largest else int(value != 0)


def cells(values: Sequence[float], largest: float, latent: int, labels: Sequence[str]) -> Markup:
    """The cells of one row. By hand: a grid has thousands."""
    written = []
    for value, label in zip(values, labels, strict=True):
        if value:
            detail = escape(f"{number(value)}  latent {latent} at {label}")
            shown = escape(number(value, 2))
            heat = level(value, largest)
            written.append(f'<td class="h{heat}" tabindex="-1" title="{detail}">{shown}</td>')
        else:
            written.append("<td></td>")
    return Markup("".join(written))
