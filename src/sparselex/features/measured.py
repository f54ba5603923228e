"""What an index keeps of a range of latents: a pure function of their columns."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import derive
from sparselex.features.config import IndexConfig
from sparselex.features.examples import Entries, Table, drawn, histograms, interval_examples, tally, top
from sparselex.features.stats import LogCounts, log_counts, statistics
from sparselex.text.rows import TokenRows, split_positions
from sparselex.text.splits import SPLITS

N_TOKENS = 5
"""Tokens of a latent that are kept."""


class Measured(NamedTuple):
    """What is kept of a range of latents."""

    arrays: dict[str, NDArray]
    """By name, the first axis is the latent."""

    log_counts: LogCounts


def measured(
    entries: Entries, counts: NDArray[np.int64], corpus: TokenRows, config: IndexConfig
) -> tuple[Entries, Measured]:
    """What is kept of these latents, beside their columns. `counts` `[n_splits, n_latents]` says how many of their
    entries lie in each split."""
    n, n_ctx = counts.shape[1], corpus.n_ctx
    found = statistics(entries, counts)
    largest, peak = np.abs(found["max"]).max(1), np.abs(found["max"][:, SPLITS.index("train")])
    train = entries.take(np.flatnonzero(entries.position < split_positions(corpus, "train").stop))
    best = top(train, peak, n_ctx, config.n_top)
    ranges, in_range = interval_examples(
        train, peak, n_ctx, config.n_intervals, config.n_per_interval, derive(config.seed, "intervals")
    )
    places, _ = drawn(train, train.latent, n, n_ctx, config.n_random, derive(config.seed, "random"))
    tokens = corpus.tokens.reshape(-1)[entries.position]
    often = tally(entries, tokens, n, max(len(corpus.vocabulary), int(tokens.max(initial=0)) + 1), N_TOKENS)
    found |= {
        "histogram": histograms(entries, largest, config.n_bins),
        "histogram-top": largest,
        "interval-top": peak,
        "interval-counts": in_range.reshape(n, -1),
        **kept_table("top", best, n),
        **kept_table("interval", ranges, n, config.n_intervals),
        **kept_table("random", places, n),
        "tally-tokens": often.token,
        "tally-counts": often.n,
        "tally-total": counts.sum(0),
    }
    return entries, Measured(found, log_counts(entries, n))


def kept_table(name: str, table: Table, *shape: int) -> dict[str, NDArray]:
    """A table as the arrays that an index keeps of it."""
    return {f"{name}-positions": table.position.reshape(*shape, -1), f"{name}-values": table.value.reshape(*shape, -1)}
