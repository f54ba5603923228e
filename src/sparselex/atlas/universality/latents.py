"""Latents of two runs: the nearest of the other, chosen on some tokens and judged on others."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.compare.columns import blocks, n_active, shifted
from sparselex.atlas.compare.pairs import Keeper, mutual
from sparselex.atlas.universality.pairs import Correlations, between
from sparselex.base.intervals import Floats
from sparselex.features.counted import drawn_shift

Told = Callable[[int], None]
"""Called with the number of latents that a step has been through."""


class Columns(NamedTuple):
    """The activations of one run, of the latents that are active often enough."""

    kept: NDArray[np.int64]
    """`[n]`, their numbers."""

    chosen: csr_array
    """`[n, n_tokens]`, on the tokens on which matches are chosen."""

    judged: csr_array
    """`[n, n_tokens]`, on those on which they are judged."""

    @classmethod
    def of(cls, chosen: csr_array, judged: csr_array, least: int) -> "Columns":
        """Latents that are active on `least` tokens or more of either kind."""
        kept = np.flatnonzero((n_active(chosen) >= least) & (n_active(judged) >= least))
        return cls(kept, chosen[kept], judged[kept])


class Nearest(NamedTuple):
    """The nearest of the other side for each of one side's latents or neurons."""

    match: NDArray[np.int64]
    """`[n]`, which; -1 for none."""

    chosen: Floats
    """`[n]`, how alike they are on the tokens on which it was chosen."""

    judged: Correlations
    """How alike they are on others."""


class Matched(NamedTuple):
    """Latents of one run and their nearest in the other."""

    found: Nearest
    null: Nearest
    """The same with the run's activations shifted away from their tokens."""

    mutual: NDArray[np.bool_]
    """`[n]`, whether the nearest has it for its own nearest."""

    mutual_null: NDArray[np.bool_]


def match_latents(
    a: Columns,
    b: Columns,
    groups: NDArray[np.int64],
    n_groups: int,
    rng: np.random.Generator,
    *,
    signed: bool = False,
    told: Told = lambda n: None,
) -> Matched:
    """Of each latent of `a` the nearest of `b` by the correlation of activations.

    Args:
        a: the run whose latents are looked for.
        b: the run in which they are.
        groups: `[n_tokens]`, the group of documents of each token on which matches are judged.
        n_groups: how many groups there are.
        rng: draws by how much activations are shifted for the null.
        signed: whether activations may be negative: a latent and its opposite are then one.
        told: called as the work goes on.
    """
    tokens = (groups, n_groups)
    moved = (shifted(one, drawn_shift(rng, one.shape[1])) for one in (a.chosen, a.judged))
    found, is_mutual = _nearest(a, b, tokens, signed=signed, told=told)
    null, null_mutual = _nearest(Columns(a.kept, *moved), b, tokens, signed=signed, told=told)
    return Matched(found, null, is_mutual, null_mutual)


def _nearest(
    a: Columns, b: Columns, tokens: tuple[NDArray[np.int64], int], *, signed: bool, told: Told
) -> tuple[Nearest, NDArray[np.bool_]]:
    keeper = Keeper(len(a.kept), len(b.kept), 1)
    for block in blocks(a.chosen, b.chosen):
        keeper.add(block.start, np.abs(block.correlation) if signed else block.correlation)
        told(len(block.correlation))
    best = keeper.finish()
    value = best.left.value[:, 0].astype(np.float64)
    match = np.where(value > 0, best.left.latent[:, 0], -1)
    found = between(a.judged, b.judged, match, *tokens)
    return Nearest(match, value.clip(min=0), found.size() if signed else found), mutual(best)
