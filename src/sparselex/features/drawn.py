"""Which tokens of each row count, where an index counts a few of each: neighbours in a text are alike, and a few tokens
of many rows say more than all of a few (Towards Monosemanticity counts 10 of each context)."""

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import derive
from sparselex.features.config import IndexConfig
from sparselex.features.examples import Entries, uniform
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS


def drawn_tokens(positions: NDArray[np.int64], n_ctx: int, config: IndexConfig) -> NDArray[np.bool_]:
    """`[n]`, which of these positions, whole rows of counted tokens, are drawn: `tokens_per_row` of each row without
    replacement, all of a row that has no more. By a hash of position and seed, so that neither other rows nor the order
    of reading matters; where the configuration draws none, all are."""
    if config.tokens_per_row is None or not len(positions):
        return np.ones(len(positions), dtype=bool)
    row, key = positions // n_ctx, uniform(positions, derive(config.seed, "drawn"))
    order = np.lexsort((positions, key, row))
    starts = np.searchsorted(row[order], row[order])
    found = np.zeros(len(positions), dtype=bool)
    found[order[np.arange(len(order)) - starts < config.tokens_per_row]] = True
    return found


def counts_by_split(entries: Entries, n_latents: int, corpus: TokenRows) -> NDArray[np.int64]:
    """`[n_splits, n_latents]`, how many of these entries lie in each split."""
    found = np.zeros((len(SPLITS), n_latents), dtype=np.int64)
    row = entries.position // corpus.n_ctx
    for number, split in enumerate(SPLITS):
        rows = corpus.row_ranges[split]
        inside = (row >= rows.start) & (row < rows.stop)
        found[number] = np.bincount(entries.latent[inside], minlength=n_latents)
    return found
