"""The right tail of logit weights: is there a second mode, as a latent has that raises some tokens and leaves the rest
as they are? Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAR = 4.0
"""Robust standard deviations above the median from which a token is far above: of a normal distribution one token in
30,000 is."""

_LEAST_RIGHT = 5
"""Tokens that must lie on the right of a gap: one or two lie apart in the tail of any distribution."""

_MOST_RIGHT = 0.1
"""Share of tokens that may lie there."""

_TO_SD = 1.4826
"""Standard deviation of a normal distribution whose median distance from the median is 1."""


class Tails(NamedTuple):
    """The right tail of each row, `[n]`."""

    above: Floats
    """Share of tokens that are far above the median."""

    gap: Floats
    """The widest gap between neighbours, in robust standard deviations."""

    n_right: NDArray[np.int64]
    """Tokens on the right of it."""


def tails(weights: NDArray[np.floating]) -> Tails:
    """The right tails of logit weights `[n, n_tokens]`, of eleven tokens or more."""
    centred = weights.astype(np.float64) - np.median(weights, axis=1, keepdims=True)
    sd = np.maximum(_TO_SD * np.median(np.abs(centred), axis=1), np.finfo(np.float64).tiny)
    most = max(_LEAST_RIGHT, int(_MOST_RIGHT * weights.shape[1]))
    top = -np.sort(-centred, axis=1)[:, : most + 1]
    gaps = (top[:, :-1] - top[:, 1:])[:, _LEAST_RIGHT - 1 :]
    widest = gaps.argmax(axis=1)
    rows = np.arange(len(weights))
    above = (centred > FAR * sd[:, None]).mean(axis=1)
    return Tails(above, gaps[rows, widest] / sd, widest + _LEAST_RIGHT)
