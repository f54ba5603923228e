"""How alike a latent of a narrow dictionary and one of a wide one are, where one of the two is active (2023 paper,
"Feature splitting"): a part of a latent is like it where the part is active, and the whole like the part nowhere else.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.universality.pairs import moments
from sparselex.base.intervals import Floats

_BLOCK, _CHUNK = 1 << 22, 256
"""Numbers in a dense block, and pairs whose tokens are looked at together."""


class Links(NamedTuple):
    """Pairs of a narrow latent and a wide one, ordered by the narrow one."""

    narrow: NDArray[np.int64]
    wide: NDArray[np.int64]
    value: Floats
    """How alike they are."""

    def at(self, kept: NDArray[np.bool_]) -> "Links":
        """Some of them."""
        return Links(self.narrow[kept], self.wide[kept], self.value[kept])


class Held(NamedTuple):
    """How alike the two of each pair are on other tokens."""

    value: Floats
    """`[n_pairs]`."""

    without: Floats
    """`[n_groups, n_pairs]`, the same without each group of documents."""


def link_blocks(narrow: csr_array, wide: csr_array) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Every row of the one with every row of the other, some at a time: where they begin, and `[n, n_wide]` links.

    A link is the larger of two cosines: of the activations on the tokens on which the narrow latent is active, and on
    those on which the wide one is. 0 for two that are never active together.
    """
    squares, flags = _changed(wide, lambda data: data**2), _changed(wide, np.ones_like)
    by_token, squares_by_token, flags_by_token = (one.T.tocsr() for one in (wide, squares, flags))
    own, other = (_changed(one, lambda data: data**2).sum(axis=1) for one in (narrow, wide))
    step = max(1, _BLOCK // max(1, wide.shape[0]))
    for start in range(0, narrow.shape[0], step):
        part = narrow[start : start + step]
        product = np.abs((part @ by_token).toarray())
        where_wide = (_changed(part, lambda data: data**2) @ flags_by_token).toarray() * other
        where_narrow = (_changed(part, np.ones_like) @ squares_by_token).toarray() * own[start : start + step, None]
        least = np.sqrt(np.minimum(where_wide, where_narrow))
        yield start, np.divide(product, least, out=np.zeros_like(product), where=least > 0)


def find_links(
    narrow: csr_array,
    wide: csr_array,
    least: float | Floats,
    told: Callable[[int], None] = lambda n: None,
) -> Links:
    """All pairs that are `least` alike or more, a number or one for each narrow latent."""
    found = list[tuple[NDArray, NDArray, NDArray]]()
    bounds = np.broadcast_to(np.asarray(least, dtype=np.float64), (narrow.shape[0],))
    for start, block in link_blocks(narrow, wide):
        row, column = np.nonzero(block >= bounds[start : start + len(block), None])
        found.append((row + start, column, block[row, column].astype(np.float64)))
        told(len(block))
    return Links(*(np.concatenate(part) for part in zip(*found, strict=True)))


def highest_links(narrow: csr_array, wide: csr_array, told: Callable[[int], None] = lambda n: None) -> Floats:
    """`[n_narrow]`, how alike the most similar wide latent is."""
    found = []
    for _, block in link_blocks(narrow, wide):
        found.append(block.max(axis=1).astype(np.float64))
        told(len(block))
    return np.concatenate(found)


def held(narrow: csr_array, wide: csr_array, links: Links, groups: NDArray[np.int64], n_groups: int) -> Held:
    """How alike the two of each link are on these tokens, and without each group of documents."""
    shape = (n_groups, len(links.narrow))
    product, where_wide, where_narrow = (np.zeros(shape) for _ in range(3))
    square = lambda data: data**2
    squares = _changed(narrow, square), _changed(wide, square)
    for start in range(0, len(links.narrow), _CHUNK):
        there = slice(start, start + _CHUNK)
        i, j = links.narrow[there], links.wide[there]
        left, right = narrow[i], wide[j]
        for into, one, other in (
            (product, left, right),
            (where_wide, squares[0][i], _changed(right, np.ones_like)),
            (where_narrow, squares[1][j], _changed(left, np.ones_like)),
        ):
            into[:, there] = moments(csr_array(one.multiply(other)), groups, n_groups).x
    own, other = (moments(one, groups, n_groups).x for one in squares)
    per_group = np.stack([product, where_wide, where_narrow, own[:, links.narrow], other[:, links.wide]])
    total = per_group.sum(1)
    return Held(_link(total), _link(total[:, None] - per_group))


def _link(sums: Floats) -> Floats:
    product, where_wide, where_narrow, own, other = sums
    # What is left of nothing by rounding, where a group is taken away that had all of it, is no link.
    least = np.minimum(where_wide * other, where_narrow * own)
    there = least > 1e-12 * own * other
    return np.divide(np.abs(product), np.sqrt(least.clip(min=0)), out=np.zeros_like(product), where=there).clip(max=1)


def _changed(found: csr_array, change: Callable[[NDArray], NDArray]) -> csr_array:
    return csr_array((change(found.data), found.indices, found.indptr), shape=found.shape)
