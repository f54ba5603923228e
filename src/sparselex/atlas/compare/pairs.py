"""The best matches of each latent, from blocks of similarities, and the one-to-one matching among them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

_NOTHING = 1e-9
"""Weight of having no partner: less than that of any."""


class Best(NamedTuple):
    """The best matches of each latent, the best first."""

    latent: NDArray[np.int64]
    """`[n, k]`, latents of the other side."""

    value: NDArray[np.float32]
    """`[n, k]`, how alike; -2 where there is no match."""


class Matches(NamedTuple):
    """The best matches of both sides."""

    left: Best
    right: Best


class Keeper:
    """Takes blocks of similarities and keeps the `k` best of each row and of each column."""

    def __init__(self, n_left: int, n_right: int, k: int):
        self.k, self.n_left, self.n_right = k, n_left, n_right
        self._rows: list[Best] = []
        self._latents = np.full((0, n_right), -1, dtype=np.int64)
        self._values = np.zeros((0, n_right), dtype=np.float32)

    def add(self, start: int, block: NDArray[np.float32]) -> None:
        """Take the rows from `start` on, `[n, n_right]`."""
        self._rows.append(_best(block, min(self.k, block.shape[1])))
        numbers = np.broadcast_to(np.arange(start, start + len(block))[:, None], block.shape)
        values, latents = np.concatenate([self._values, block]), np.concatenate([self._latents, numbers])
        kept = _best(values.T, min(self.k, len(values)))
        self._values, self._latents = kept.value.T, np.take_along_axis(latents, kept.latent.T, axis=0)

    def finish(self) -> Matches:
        """The best of both sides."""
        left = [np.concatenate(parts) for parts in zip(*self._rows, strict=True)]
        return Matches(Best(left[0], left[1]), Best(self._latents.T, self._values.T))


def _best(values: NDArray[np.float32], k: int) -> Best:
    """The `k` largest of each row, the first of equals first."""
    if k == 1:
        latent = values.argmax(axis=1)[:, None]
        return Best(latent, np.take_along_axis(values, latent, axis=1))
    some = np.sort(np.argpartition(-values, k - 1, axis=1)[:, :k], axis=1)
    found = np.take_along_axis(values, some, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return Best(np.take_along_axis(some, order, axis=1), np.take_along_axis(found, order, axis=1))


def cosines(
    left: NDArray[np.float32], right: NDArray[np.float32], k: int, *, signed: bool, step: int = 1024
) -> Matches:
    """The best matches by cosine of `[n, d]` rows; where codes are `signed`, opposite directions are the same."""
    left, right = _unit(left), _unit(right)
    keeper = Keeper(len(left), len(right), k)
    for start in range(0, len(left), step):
        block = left[start : start + step] @ right.T
        keeper.add(start, np.abs(block) if signed else block)
    return keeper.finish()


def pair_cosines(
    left: NDArray[np.float32], right: NDArray[np.float32], partner: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`[n_left]`, cosine of each row with its partner's; NaN without one."""
    found = (_unit(left) * _unit(right)[partner.clip(min=0)]).sum(axis=1, dtype=np.float64)
    return np.where(partner >= 0, found, np.nan)


def alike(rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """As many rows drawn with the second moments of `rows`, by direction: what two dictionaries have in common that
    only lie in the same directions of the same space."""
    unit = _unit(rows).astype(np.float64)
    variances, vectors = np.linalg.eigh(unit.T @ unit / max(1, len(unit)))
    spread = vectors * np.sqrt(variances.clip(min=0))
    return (rng.standard_normal(unit.shape) @ spread.T).astype(np.float32)


def partners(found: Matches) -> NDArray[np.int64]:
    """`[n_left]`, the partner of each in the one-to-one matching with the largest sum of similarities, among the best
    matches of both sides; -1 for one that has none. Similarities that are not positive match nothing."""
    n_left, n_right = len(found.left.latent), len(found.right.latent)
    rows, others, values = [], [], []
    for best, turned in ((found.left, False), (found.right, True)):
        own, other = np.repeat(np.arange(len(best.latent)), best.latent.shape[1]), best.latent.reshape(-1)
        value, pair = best.value.reshape(-1), (other, own) if turned else (own, other)
        kept = value > 0
        rows.append(pair[0][kept])
        others.append(pair[1][kept])
        values.append(value[kept])
    row, other, value = np.concatenate(rows), np.concatenate(others), np.concatenate(values).astype(np.float64)
    _, once = np.unique(row * n_right + other, return_index=True)
    # A place of its own for each that stays alone: a full matching then always exists.
    row = np.concatenate([row[once], np.arange(n_left)])
    other = np.concatenate([other[once], n_right + np.arange(n_left)])
    weights = np.concatenate([value[once], np.full(n_left, _NOTHING)])
    graph = csr_array((weights, (row, other)), shape=(n_left, n_right + n_left))
    chosen = np.asarray(min_weight_full_bipartite_matching(graph, maximize=True)[1], dtype=np.int64)
    return np.where(chosen < n_right, chosen, -1)


def mutual(found: Matches) -> NDArray[np.bool_]:
    """`[n_left]`, whether the best match of each has it for its own best match."""
    best, back = found.left.latent[:, 0], found.right.latent[:, 0]
    return (back[best] == np.arange(len(best))) & (found.left.value[:, 0] > 0)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
