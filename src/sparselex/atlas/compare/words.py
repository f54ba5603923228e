"""What is said of matched latents: are the explanations of a pair more alike than those of latents of other pairs?

Every pair is held against all others, left latents with right ones, so that the null has the same explanations and no
drawing in it: of cosines its mean follows from two sums, of the rest it is counted block by block.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.compare.figures import follows_figure
from sparselex.atlas.compare.records import WordsSummary
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator

_BLOCK = 1 << 22
"""Pairs that are held against each other at a time."""

_OTHERS = "the null is over the same latents, each with the right-hand latents of all other pairs"


class Spoken(NamedTuple):
    """What one explainer says of chosen latents of both sides: row i of one side and row i of the other are a pair."""

    text: tuple[NDArray[np.int64], NDArray[np.int64]]
    """`[n_pairs]` each, the number of each latent's text among all distinct ones; -1 where it has no explanation."""

    vectors: NDArray[np.float32] | None
    """`[n_texts, width]`, of length 1, what each text means; None where that is not known."""

    called: tuple[csr_array, csr_array] | None = None
    """`[n_pairs, n_tokens]` each, the test tokens that the explanation calls active, of 1; None where explanations
    predict nothing."""

    missing: str = ""
    """Why there are no vectors."""


@runtime_checkable
class Speaks(Protocol):
    """Who knows what is said of the latents of both runs."""

    @property
    def explainers(self) -> tuple[str, ...]:
        """Those that have explained latents of both."""
        ...

    def of(self, explainer: str, left: NDArray[np.int64], right: NDArray[np.int64]) -> Spoken:
        """What an explainer says of these latents of the one run and of the other."""
        ...


class Worded(NamedTuple):
    """What explanations say of the pairs of one matching."""

    similarity: Floats
    """`[n_pairs]`, cosine of the two explanations; NaN where one is missing."""

    agreement: Floats
    """`[n_pairs]`, Jaccard index of the tokens that both call active; NaN where that cannot be formed."""

    summary: WordsSummary
    figures: list[Figure]


def chosen_pairs(partner: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Left latents that have a partner, ascending; of more than `most` so many, drawn at random."""
    left = np.flatnonzero(partner >= 0)
    if len(left) > most:
        left = np.sort(generator(seed, "compare", "words").choice(left, most, replace=False))
    return left


def worded(measure: str, explainer: str, found: Spoken, alike: Floats, mutual: NDArray[np.bool_]) -> Worded:
    """Similarity of the explanations of pairs that were matched by `measure`.

    Args:
        measure: by what the pairs were matched.
        explainer: who explained.
        found: what is said of both latents of each pair.
        alike: `[n_pairs]`, how alike the two are by that measure.
        mutual: `[n_pairs]`, whether each is the other's best match.
    """
    left, right = found.text
    both = (left >= 0) & (right >= 0)
    similarity, agreement = np.full(len(left), np.nan), np.full(len(left), np.nan)
    name = f"compare/{measure}/{explainer}"
    figures = [_explained(name, left >= 0, right >= 0), _identical(name, left[both], right[both])]
    if found.vectors is not None:
        a, b = found.vectors[left[both]], found.vectors[right[both]]
        similarity[both] = (a * b).sum(1, dtype=np.float64)
        figures += _similarity(name, measure, a, b, alike[both], mutual[both])
    if found.called is not None:
        agreement[both], figure = _agreement(name, found.called[0][both], found.called[1][both])
        figures.append(figure)
    summary = WordsSummary(
        n_pairs=len(left),
        n_explained=int(both.sum()),
        n_half=int(((left >= 0) ^ (right >= 0)).sum()),
        n_identical=int((left[both] == right[both]).sum()),
        missing=found.missing,
    )
    return Worded(similarity, agreement, summary, figures)


def _explained(name: str, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> Figure:
    words = (
        "share of the pairs of the one-to-one matching of which both latents have an explanation; the null is the "
        "product of the shares of either side"
    )
    null = float(left.mean() * right.mean()) if len(left) else None
    return _mean(f"{name}/explained_pairs", left & right, words, null)


def _identical(name: str, left: NDArray[np.int64], right: NDArray[np.int64]) -> Figure:
    """How often both have one and the same text: stock phrases would make all explanations alike."""
    n, counts = len(left), np.bincount(right, minlength=int(left.max(initial=-1)) + 1)
    same = left == right
    null = float((counts[left].sum() - same.sum()) / (n * (n - 1))) if n > 1 else None
    return _mean(f"{name}/identical_texts", same, f"share of explained pairs with one text for both; {_OTHERS}", null)


def _similarity(
    name: str, measure: str, a: NDArray[np.float32], b: NDArray[np.float32], alike: Floats, mutual: NDArray[np.bool_]
) -> list[Figure]:
    similarity = (a * b).sum(1, dtype=np.float64)
    what = "cosine of the sentence embeddings of the explanations"
    words = f"mean {what} of explained pairs; {_OTHERS}"
    of_mutual = f"mean {what} of explained pairs that are each other's best match; {_OTHERS} of these"
    against = (
        f"chance that the {what} of a pair exceeds that of a left latent with the right one of another pair, ties "
        "counting half"
    )
    return [
        _mean(f"{name}/explanation_similarity", similarity, words, mean_of_others(a, b)),
        _mean(
            f"{name}/mutual_explanation_similarity",
            similarity[mutual],
            of_mutual,
            mean_of_others(a[mutual], b[mutual]),
        ),
        _mean(f"{name}/explanation_auroc", above_others(a, b, similarity), against, 0.5),
        _follows(f"{name}/explanation_follows", measure, similarity, alike),
    ]


def mean_of_others(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    """The mean product of each row of `[n, d]` with the rows of the other that are not its own; None for fewer than
    two."""
    if len(a) < 2:
        return None
    own = (a * b).sum(dtype=np.float64)
    every = a.sum(0, dtype=np.float64) @ b.sum(0, dtype=np.float64)
    return float((every - own) / (len(a) * (len(a) - 1)))


def above_others(a: NDArray[np.float32], b: NDArray[np.float32], own: Floats) -> Floats:
    """`[n]`, of each pair the share of all products of rows of other pairs that lie below its `own`; of equal ones
    half."""
    n, step = len(a), max(1, _BLOCK // max(1, len(a)))
    if n < 2:
        return np.empty(0)
    levels, level = np.unique(own, return_inverse=True)
    counts = np.zeros(len(levels) + 1)
    for start in range(0, n, step):
        block = (a[start : start + step] @ b.T).astype(np.float64)
        rows = np.arange(len(block))
        others = np.delete(block.reshape(-1), rows * n + start + rows)
        first, behind = np.searchsorted(levels, others - _TIE), np.searchsorted(levels, others + _TIE, "right")
        counts += np.bincount(first, minlength=len(counts)) + np.bincount(behind, minlength=len(counts))
    return np.asarray(counts.cumsum()[level] / (2 * n * (n - 1)))


_TIE = 1e-6
"""Products of vectors in single precision that differ by less are equal."""


def _follows(name: str, measure: str, similarity: Floats, alike: Floats) -> Figure:
    known = np.isfinite(alike)
    words = f"rank correlation, over explained pairs, of how alike explanations are with the pair's {measure}"
    return follows_figure(name, similarity[known], alike[known], words, over="pairs", empty="there is no such pair")


def _agreement(name: str, left: csr_array, right: csr_array) -> tuple[Floats, Figure]:
    """Jaccard index of what both call, and its figure. Pairs of which neither calls anything have none."""
    n_left, n_right = (np.diff(one.indptr).astype(np.float64) for one in (left, right))
    n, total, own, n_others = len(n_left), 0.0, np.full(len(n_left), np.nan), 0
    turned, step = right.T.tocsr(), max(1, _BLOCK // max(1, len(n_left)))
    for start in range(0, n, step):
        found = jaccard(
            (left[start : start + step] @ turned).toarray().astype(np.float64), n_left[start : start + step], n_right
        )
        rows = np.arange(len(found))
        own[start + rows] = found[rows, start + rows]
        found[rows, start + rows] = np.nan
        total, n_others = total + float(np.nansum(found)), n_others + int(np.isfinite(found).sum())
    words = (
        "mean Jaccard index of the test tokens that the two explanations of a pair call active, as predictors and "
        f"without any judge, of explained pairs of which one calls some; {_OTHERS}"
    )
    known = own[np.isfinite(own)]
    return own, _mean(f"{name}/predictor_agreement", known, words, total / n_others if n_others else None)


def jaccard(both: Floats, n_left: Floats, n_right: Floats) -> Floats:
    """`[n, m]`, shared members over all members; NaN for two empty sets."""
    either = n_left[:, None] + n_right[None, :] - both
    return np.divide(both, either, out=np.full(either.shape, np.nan), where=either > 0)


def _mean(name: str, values: NDArray, words: str, null: float | None) -> Figure:
    return mean_figure(name, values, words, over="pairs", null=null, empty="there is no such pair")


def columns_of(measure: str, explainer: str, found: Worded, rows: NDArray[np.int64], n: int) -> dict[str, NDArray]:
    """Columns over `[n]` latents of what was found of some; NaN for the others."""
    names = {"similarity": found.similarity, "agreement": found.agreement}
    columns = {f"{measure}_{explainer}_{name}": np.full(n, np.nan, dtype=np.float32) for name in names}
    for column, values in zip(columns.values(), names.values(), strict=True):
        column[rows] = values
    return columns
