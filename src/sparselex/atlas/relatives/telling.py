"""Texts for pairs of relatives: sought in some test documents, judged in others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.relatives.config import RelativesConfig
from sparselex.atlas.relatives.containment import Inside
from sparselex.atlas.relatives.records import NOWHERE
from sparselex.atlas.relatives.texts import MinimalPair, Places, Told, contexts, minimal_pair, told_by
from sparselex.atlas.splitting.dictionaries import Beside
from sparselex.base.intervals import Floats, effective_units
from sparselex.base.progress import progress
from sparselex.text.rows import TokenRows


class Texts(NamedTuple):
    """Two texts for each pair, `[n_pairs]` each, and what they tell; see `Kin` for each."""

    both: NDArray[np.int64]
    only: NDArray[np.int64]
    differing: NDArray[np.int64]
    at_random: Floats
    back: NDArray[np.int64]
    told: Floats
    without: Floats
    """`[n_groups, n_pairs]`, what they tell without each group of the documents that judge."""

    told_null: Floats
    n_told: NDArray[np.int64]
    covered: Floats
    n_documents: float
    """Documents of one size that would tell as much as those that judge."""

    @classmethod
    def none(cls, n: int, n_groups: int, n_documents: float) -> "Texts":
        """No texts yet."""
        both, only, differing, back = (np.full(n, NOWHERE, dtype=np.int64) for _ in range(4))
        at_random, told, told_null, covered = (np.full(n, np.nan) for _ in range(4))
        return cls(
            both=both,
            only=only,
            differing=differing,
            at_random=at_random,
            back=back,
            told=told,
            without=np.full((n_groups, n), np.nan),
            told_null=told_null,
            n_told=np.zeros(n, dtype=np.int64),
            covered=covered,
            n_documents=n_documents,
        )


class _Judged(NamedTuple):
    """What a difference tells at places that did not choose it."""

    told: float
    without: Floats
    n_told: int
    covered: float


def seek_texts(
    there: Beside,
    corpus: TokenRows,
    pairs: Inside,
    sought: NDArray[np.int64],
    config: RelativesConfig,
    rng: np.random.Generator,
) -> Texts:
    """Texts for those of the pairs that are `sought`: found in the even groups of test documents, judged in the odd
    ones, once as the latents are and once with the narrower one's activations dealt out anew among the places of the
    wider one that choose."""
    context = contexts(corpus, there.judged.positions, config.n_before)
    judging = there.groups % 2 == 1
    groups, n_groups = there.groups // 2, max(1, there.n_groups // 2)
    owners = np.asarray(corpus.documents).reshape(-1)[there.judged.positions[judging]]
    n_documents = effective_units(np.unique(owners, return_counts=True)[1]) if judging.any() else 0.0
    found = Texts.none(len(pairs.left), n_groups, n_documents)
    with progress("texts", len(sought), "pairs") as bar:
        for row in sought.tolist():
            bar.advance(1)
            at, places = _places(there, pairs, row, context, corpus.n_ctx)
            judges = judging[at]
            choosing, rest, of = places.at(~judges), places.at(judges), groups[at][judges]
            pair = minimal_pair(choosing, config.n_places)
            if pair is None:
                continue
            found.both[row], found.only[row] = there.judged.positions[at[~judges][[pair.both, pair.only]]]
            found.differing[row], found.at_random[row] = pair.differing, pair.at_random
            found.back[row] = pair.difference.back
            judged = _judged(pair, rest, of, n_groups, config.least_told)
            found.told[row], found.without[:, row] = judged.told, judged.without
            found.n_told[row], found.covered[row] = judged.n_told, judged.covered
            order = rng.permutation(len(choosing.both))
            dealt = choosing._replace(both=choosing.both[order], narrow=choosing.narrow[order])
            if (null := minimal_pair(dealt, config.n_places)) is not None:
                found.told_null[row] = _judged(null, rest, of, n_groups, config.least_told).told
    return found


def _places(
    there: Beside, pairs: Inside, row: int, context: NDArray[np.int32], n_ctx: int
) -> tuple[NDArray[np.int64], Places]:
    """The tokens at which the wider one of a pair is active."""
    one = _column(there.left.judged, int(pairs.left[row]))
    other = _column(there.right.judged, int(pairs.right[row]))
    (at, size), (where, values) = (other, one) if pairs.wider[row] else (one, other)
    narrow = np.zeros(len(at))
    _, mine, theirs = np.intersect1d(at, where, assume_unique=True, return_indices=True)
    narrow[mine] = values[theirs]
    return at, Places(context[at], there.judged.positions[at] // n_ctx, narrow > 0, size, narrow)


def _column(found: csr_array, row: int) -> tuple[NDArray[np.int64], Floats]:
    """Where a latent is active, ascending, and how much by size."""
    span = slice(found.indptr[row], found.indptr[row + 1])
    places, values = found.indices[span].astype(np.int64), np.abs(found.data[span]).astype(np.float64)
    order = np.argsort(places, kind="stable")
    return places[order], values[order]


def _judged(pair: MinimalPair, places: Places, groups: NDArray[np.int64], n_groups: int, least: int) -> _Judged:
    """What a pair's difference tells of `places`, of which `groups` says the group of documents."""
    votes = pair.difference.votes(places.context)
    each = np.array([told_by(votes[groups == group], places.both[groups == group]) for group in range(n_groups)])
    whole = Told(*each.sum(0).tolist())
    without = np.array([Told(*one.tolist()).share for one in each.sum(0) - each])
    enough = min(whole.hits_both + whole.missed_both, whole.hits_only + whole.missed_only) >= least
    n_told = int(sum(whole))
    covered = n_told / len(votes) if len(votes) else np.nan
    return _Judged(whole.share if enough else np.nan, without, n_told, covered)
