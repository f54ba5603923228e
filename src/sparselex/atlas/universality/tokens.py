"""On which tokens runs are held against each other: some choose what is alike, others judge it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.even import even_rows
from sparselex.atlas.compare.columns import common_ranks
from sparselex.base.errors import UserError
from sparselex.base.intervals import even_groups
from sparselex.features.index import FeatureIndex
from sparselex.text.rows import TokenRows


class Tokens(NamedTuple):
    """Tokens of one split that both indexes counted."""

    ranks: NDArray[np.int64]
    """`[n_positions]`, the number of each, in order; -1 for any other."""

    positions: NDArray[np.int64]
    """`[n]`, where they stand."""

    def documents(self, corpus: TokenRows, n_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many of them each document has, and the group of documents of each, of `n_groups` equal ones at most."""
        owners = np.unique(np.asarray(corpus.documents).reshape(-1)[self.positions], return_inverse=True)[1]
        sizes = np.bincount(owners)
        return sizes, even_groups(sizes, n_groups)[owners]


def common_tokens(a: FeatureIndex, b: FeatureIndex, n_tokens: int | None) -> tuple[Tokens, Tokens]:
    """Tokens on which something is chosen, of training documents, and others on which it is judged, of test documents:
    of these no document gives more than twice its even share. Raises `UserError` where both counted none."""
    corpus = a.corpus
    train, test = (corpus.row_ranges[split] for split in ("train", "test"))
    most = len(test) if n_tokens is None else max(1, n_tokens // corpus.n_ctx)
    judging = even_rows(corpus.documents, test, most)
    chosen = common_ranks(a, b, n_tokens, np.arange(train.start, train.stop))
    judged = common_ranks(a, b, None, judging)
    found = [Tokens(ranks, np.flatnonzero(ranks >= 0)) for ranks in (chosen, judged)]
    for one, split in zip(found, ("training", "test"), strict=True):
        if not len(one.positions):
            raise UserError(
                f"No token of {split} documents was counted by both indexes.",
                "two indexes of one text that share tokens",
                "index both runs with the same --train-rows.",
            )
    return found[0], found[1]
