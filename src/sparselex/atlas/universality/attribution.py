"""What matched latents do to the next token of the text: their attribution vectors, and the logit weights behind them.

The attribution of a latent at a token is its activation there times its weight on the logit of the token that follows
(2023 paper, "Universality"): interference between directions moves the logits of all tokens a little, and hardly those
that do follow.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from sparselex.atlas.universality.pairs import Correlations, between
from sparselex.base.intervals import Floats
from sparselex.features.stream import Written

_CHUNK = 128
"""Latents whose weights on all tokens are in memory at a time."""


class LogitWeights:
    """How much each latent of a dictionary moves the logit of each token by the direct path, relative to the median
    token; the scale of the final norm is left out.

    Args:
        written: its directions, and how they come to the logits.
        ranked: `[n]`, the tokens over which the median is taken: those that stand in the text.
    """

    def __init__(self, written: Written, ranked: NDArray[np.int64]):
        self._written, self.ranked = written, torch.from_numpy(ranked).to(written.unembed.device)

    def of(self, latents: NDArray[np.int64]) -> Tensor:
        """`[n, n_vocab]`, of some latents."""
        rows = self._written.rows[torch.from_numpy(latents).to(self._written.rows.device)]
        logits = (rows if self._written.write is None else rows @ self._written.write) @ self._written.unembed
        return logits - logits[:, self.ranked].median(-1, keepdim=True).values


class Attributed(NamedTuple):
    """How alike the two of each pair are in what they do, `[n_pairs]` each."""

    vectors: Correlations
    """Correlation of attributions over all tokens that have a next one."""

    vectors_null: Correlations
    """The same with what the match of another latent does."""

    weights: Floats
    """Correlation of logit weights over the tokens that stand in the text."""

    weights_null: Floats


class Side(NamedTuple):
    """One of the two runs."""

    kept: NDArray[np.int64]
    """`[n]`, numbers of the latents."""

    acts: csr_array
    """`[n, n_tokens]`, their activations on tokens that have a next one."""

    weights: LogitWeights
    """What they do to the logits."""


def attributed(
    a: Side,
    b: Side,
    match: NDArray[np.int64],
    following: NDArray[np.int64],
    groups: NDArray[np.int64],
    n_groups: int,
    rng: np.random.Generator,
) -> Attributed:
    """Of each pair how alike its attribution vectors and its logit weights are.

    Args:
        a: the run whose latents were looked for.
        b: the run in which they were.
        match: `[n]`, the nearest of `b` for each of `a`, a row of its activations; -1 for none.
        following: `[n_tokens]`, the token behind each.
        groups: `[n_tokens]`, its group of documents.
        n_groups: how many groups there are.
        rng: draws whose match stands beside each latent for the null.
    """
    other = match[_deranged(len(match), rng)]
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(match), _CHUNK)]
    found = [
        (
            *_pairs(a, b, rows, match[rows], following, groups, n_groups),
            *_pairs(a, b, rows, other[rows], following, groups, n_groups),
        )
        for rows in chunks
    ]
    vectors, weights, vectors_null, weights_null = zip(*found, strict=True)
    return Attributed(_joined(vectors), _joined(vectors_null), np.concatenate(weights), np.concatenate(weights_null))


def _deranged(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`[n]`, another one for each: all in a ring, drawn at random, and each has the next."""
    ring = rng.permutation(n)
    found = np.empty(n, dtype=np.int64)
    found[ring] = np.roll(ring, 1)
    return found


def _pairs(
    a: Side,
    b: Side,
    rows: slice,
    match: NDArray[np.int64],
    following: NDArray[np.int64],
    groups: NDArray[np.int64],
    n_groups: int,
) -> tuple[Correlations, Floats]:
    own, there = a.weights.of(a.kept[rows]), match >= 0
    other = b.weights.of(b.kept[match.clip(min=0)])
    left = _weighted(a.acts[rows], own, following)
    right = _weighted(b.acts[match.clip(min=0)], other, following)
    partner = np.where(there, np.arange(len(match)), -1)
    alike = _correlated(own[:, a.weights.ranked], other[:, b.weights.ranked])
    return between(left, right, partner, groups, n_groups), np.where(there, alike, 0.0)


def _weighted(acts: csr_array, weights: Tensor, following: NDArray[np.int64]) -> csr_array:
    """Attributions of some latents."""
    latents = np.repeat(np.arange(acts.shape[0]), np.diff(acts.indptr))
    values = acts.data * weights.float().cpu().numpy()[latents, following[acts.indices]]
    return csr_array((values, acts.indices, acts.indptr), shape=acts.shape)


def _correlated(left: Tensor, right: Tensor) -> Floats:
    """Correlation of each row with the same row of the other."""
    unit = lambda rows: torch.nn.functional.normalize(rows.double() - rows.double().mean(-1, keepdim=True), dim=-1)
    return (unit(left) * unit(right)).sum(-1).cpu().numpy()


def _joined(parts: tuple[Correlations, ...]) -> Correlations:
    return Correlations(
        np.concatenate([one.value for one in parts]), np.concatenate([one.without for one in parts], axis=1)
    )
