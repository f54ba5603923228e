"""Every latent against every concept at once: sums over the training tokens on which both are, never anything dense in
latents and tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack

from sparselex.features.counted import CountedTokens
from sparselex.features.index import FeatureIndex
from sparselex.features.ranges import groups
from sparselex.text.rows import split_positions


class Marked(NamedTuple):
    """What one concept says of the counted tokens of a split, where it says something."""

    ranks: NDArray[np.int64]
    """Tokens that are inside, ascending."""

    scores: NDArray[np.float64]
    """Their scores, each above 0."""

    n_tokens: int
    """Tokens of the split."""

    @staticmethod
    def of(scores: NDArray[np.float32]) -> "Marked":
        """What scores `[n_tokens]` say."""
        ranks = np.flatnonzero(scores > 0)
        return Marked(ranks, scores[ranks].astype(np.float64), len(scores))

    def shifted(self, by: int) -> "Marked":
        """The same `by` tokens on, around the end: all of its own structure, none of the tokens'."""
        ranks = (self.ranks + by) % self.n_tokens
        order = np.argsort(ranks)
        return Marked(ranks[order], self.scores[order], self.n_tokens)

    def flags(self) -> NDArray[np.bool_]:
        """`[n_tokens]`, True for those that are inside."""
        found = np.zeros(self.n_tokens, dtype=bool)
        found[self.ranks] = True
        return found


class Together(NamedTuple):
    """Sums of every latent with every concept, over training tokens."""

    n_active: NDArray[np.int64]
    """`[d_sae]`, tokens on which each latent is active."""

    mass: NDArray[np.float64]
    """`[d_sae]`, its activations added up."""

    largest: NDArray[np.float64]
    """`[d_sae]`, the largest of them."""

    correlation: NDArray[np.float64]
    """`[d_sae, n_concepts]`, Pearson correlation of activation and score where that is above 0; -2 where one of the two
    does not vary."""

    mass_inside: NDArray[np.float64]
    """`[d_sae, n_concepts]`, activation that lies inside."""

    n_inside: NDArray[np.int64]
    """`[d_sae, n_concepts]`, active tokens that are inside."""


def columns_of(concepts: Sequence[Marked], *, flags: bool = False) -> csr_array:
    """`[n_tokens, n_concepts]`, their scores, or 1 where a token is inside."""
    parts = [
        csc_array(
            (np.ones(len(one.ranks)) if flags else one.scores, one.ranks, [0, len(one.ranks)]), shape=(one.n_tokens, 1)
        )
        for one in concepts
    ]
    return csr_array(hstack(parts, format="csr"))


def together(index: FeatureIndex, tokens: CountedTokens, concepts: Sequence[Marked]) -> Together:
    """Every latent of an index with every concept, over the tokens of the training split; sizes of activations, where
    they have signs."""
    scores, inside = columns_of(concepts), columns_of(concepts, flags=True)
    positions = split_positions(index.corpus, "train")
    parts = [_part(index, group, tokens, positions, scores, inside) for group in groups(index.indptr)]
    n_active, mass, square, largest, product, mass_inside, n_inside = map(np.concatenate, zip(*parts, strict=True))
    correlation = _correlations(len(tokens), mass, square, product, concepts)
    return Together(n_active, mass, largest, correlation, mass_inside, n_inside.astype(np.int64))


def _part(
    index: FeatureIndex,
    group: slice,
    tokens: CountedTokens,
    positions: range,
    scores: csr_array,
    inside: csr_array,
) -> tuple[NDArray, ...]:
    acts = codes_of(index, group, tokens, positions)
    n, sizes = np.diff(acts.indptr), acts.data
    square = csr_array((sizes**2, acts.indices, acts.indptr), shape=acts.shape)
    ones = csr_array((np.ones(len(sizes), np.float32), acts.indices, acts.indptr), shape=acts.shape)
    return (
        n.astype(np.int64),
        np.asarray(acts.sum(axis=1)),
        np.asarray(square.sum(axis=1)),
        acts.max(axis=1).toarray().reshape(-1),
        (acts @ scores).toarray(),
        (acts @ inside).toarray(),
        (ones @ inside).toarray(),
    )


def codes_of(index: FeatureIndex, group: slice, tokens: CountedTokens, positions: range) -> csr_array:
    """`[n_latents, n_tokens]`, sizes of the activations of a range of latents on the counted tokens of a split, which
    stand at `positions`."""
    start, stop = int(index.indptr[group.start]), int(index.indptr[group.stop])
    there, sizes = index.entries(start, stop)
    kept = (there >= positions.start) & (there < positions.stop)
    ends = np.concatenate([[0], np.cumsum(kept)])[np.asarray(index.indptr[group.start : group.stop + 1]) - start]
    ranks = tokens.ranks_of(there[kept].astype(np.int64))
    return csr_array((np.abs(sizes[kept]).astype(np.float64), ranks, ends), shape=(len(ends) - 1, len(tokens)))


def _correlations(
    n: int, mass: NDArray, square: NDArray, product: NDArray, concepts: Sequence[Marked]
) -> NDArray[np.float64]:
    score = np.array([one.scores.sum() for one in concepts])
    score_square = np.array([np.square(one.scores).sum() for one in concepts])
    covariance = product - np.outer(mass, score) / n
    # What is left of a constant by rounding is no spread.
    variance, other = square - mass**2 / n, score_square - score**2 / n
    scale = np.sqrt(
        np.outer(np.where(variance > 1e-9 * square, variance, 0), np.where(other > 1e-9 * score_square, other, 0))
    )
    return np.divide(covariance, scale, out=np.full_like(covariance, -2.0), where=scale > 0)
