"""Tokens that are asked about to see whether an explanation tells which ones a latent makes likely: some that it raises
and as many that it does not (Bricken et al. 2023, "Towards Monosemanticity"). Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError

FIRST, N_EACH, LEAST_COUNT = 10, 50, 20
"""The paper's ranks, from 10 to 60, and how often a token must stand in the text to be asked about."""


class Asked(NamedTuple):
    """The tokens that are asked about, of one latent."""

    tokens: NDArray[np.int64]
    """`[2 n_each]`, first those that it raises, by falling weight, then those drawn at random."""

    raised: NDArray[np.bool_]
    """`[2 n_each]`, which are the former."""


def asked_about(
    weights: NDArray[np.floating], among: NDArray[np.int64], first: int, n_each: int, rng: np.random.Generator
) -> Asked:
    """Tokens for one latent: some of the ranks behind the very first of its logit weights, and as many drawn at random
    from the others that are weighed less. Raises `UserError` where there are too few.

    Args:
        weights: `[n_vocab]`, its logit weights.
        among: `[n]`, tokens that may be asked about.
        first: ranks that are left out.
        n_each: how many of either kind.
        rng: draws the random ones, without replacement.
    """
    end = first + n_each
    if len(among) < end + n_each:
        raise UserError(
            f"{len(among):,} tokens stand in the text often enough to be asked about.",
            f"{end + n_each:,}: those that a latent raises, and as many others",
            "ask about fewer, or about rarer ones (`--n-each`, `--least-count`).",
        )
    order = among[np.argsort(-weights[among], kind="stable")]
    drawn = rng.choice(order[end:], n_each, replace=False)
    return Asked(np.concatenate([order[first:end], drawn]), np.arange(2 * n_each) < n_each)
