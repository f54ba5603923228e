"""How well a shuffle mixes: how often two tokens of one training batch come from one row of text."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat

from sparselex.base.config import Config


class Mixing(Config):
    """Quality of a shuffle. Tokens of one row resemble each other, so pairs of them make the gradient of a batch
    noisier."""

    same_row: NonNegativeFloat
    """Share of the pairs of tokens in a batch that come from one row."""

    ratio: NonNegativeFloat
    """`same_row` over what a perfect shuffle of all tokens gives: 1 is perfect."""

    rows_per_batch: NonNegativeFloat
    """Effective rows in a batch, mean over batches: 1 / Σ p², p being the rows' shares of its tokens. At most the batch
    size."""


def mixing(batches: Iterable[NDArray[np.int64]], n_ctx: int, row_sizes: NDArray[np.int64]) -> Mixing:
    """Measure some batches of a stream.

    Args:
        batches: positions of the tokens of each batch (`row * n_ctx + column`).
        n_ctx: tokens in a row.
        row_sizes: `[n_rows]`, tokens that each row brings to the stream in an epoch; what a perfect shuffle is computed
            from.
    """
    same = pairs = 0
    effective = []
    for positions in batches:
        n = len(positions)
        counts = np.unique(np.asarray(positions) // n_ctx, return_counts=True)[1].astype(np.int64)
        same += int((counts * (counts - 1)).sum())
        pairs += n * (n - 1)
        effective.append(n * n / float((counts * counts).sum()))
    sizes = np.asarray(row_sizes, dtype=np.int64)
    total = int(sizes.sum())
    # In a perfect shuffle any two tokens of the epoch are equally likely to meet.
    perfect = int((sizes * (sizes - 1)).sum()) / (total * (total - 1)) if total > 1 else 0.0
    share = same / pairs if pairs else 0.0
    return Mixing(
        same_row=share,
        ratio=share / perfect if perfect else 1.0,
        rows_per_batch=float(np.mean(effective)) if effective else 0.0,
    )
