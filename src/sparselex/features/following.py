"""What follows when a latent is active: the next tokens of the text, counted. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.features.ranges import groups
from sparselex.text.rows import TokenRows

PLACES = 256
"""Active places of a latent at whose next token is looked at most, spread evenly over the training text."""

LEAST_TIMES = 5
"""Times that a token must follow to be shown."""

_Z = 1.959964
"""Standard errors of a 95 % interval."""


class Following(NamedTuple):
    """What follows each latent, most telling first; unused places hold token -1."""

    tokens: NDArray[np.int32]
    """`[d_sae, n]`."""

    times: NDArray[np.int32]
    """`[d_sae, n]`, how often each follows one of the places looked at."""

    n_places: NDArray[np.int32]
    """`[d_sae]`, places looked at that have a next token in their row and document."""


def following(
    indptr: NDArray[np.int64],
    positions: NDArray,
    n_train: NDArray[np.int64],
    base: NDArray[np.float64],
    tokens: NDArray,
    documents: NDArray,
    n: int,
) -> Following:
    """The `n` tokens that most tellingly follow the active places of each latent in training text.

    Shown are those that follow `LEAST_TIMES` times or more and whose share is above their share of all tokens even at
    the lower end of its 95 % interval (Wilson 1927). The order is by that lower end times the logarithm of its lift,
    what a token adds to the divergence from the usual next token: by lift alone rare tokens would fill the list, by
    share alone frequent ones. Of equals the lower token comes first.

    Args:
        indptr: `[d_sae + 1]`, where columns begin.
        positions: columns, ascending, training text first.
        n_train: `[d_sae]`, active places of each in training text.
        base: `[n_vocab]`, share of each token among the counted tokens of training text.
        tokens: `[n_rows, n_ctx]`, the text.
        documents: `[n_rows, n_ctx]`, the document of each token.
        n: tokens kept of each latent.
    """
    d_sae = len(n_train)
    shape = d_sae, n
    found = Following(np.full(shape, -1, np.int32), np.zeros(shape, np.int32), np.zeros(d_sae, np.int32))
    looked = np.minimum(n_train, PLACES)
    for group in groups(np.concatenate([[0], np.cumsum(looked)])):
        latent, next_token = _next_tokens(indptr[group], positions, n_train[group], tokens, documents)
        n_latents = group.stop - group.start
        found.n_places[group] = n_places = np.bincount(latent, minlength=n_latents)
        keys, times = np.unique(latent * len(base) + next_token, return_counts=True)
        latent, token = np.divmod(keys, len(base))
        frequent = np.flatnonzero(times >= LEAST_TIMES)
        latent, token, times = latent[frequent], token[frequent], times[frequent]
        low = lower_share(times, n_places[latent])
        told = np.flatnonzero(low > base[token])
        latent, token, times, low = latent[told], token[told], times[told], low[told]
        order = np.lexsort((token, -low * np.log(low / base[token]), latent))
        latent = latent[order]
        rank = np.arange(len(latent)) - np.searchsorted(latent, latent)
        inside = rank < n
        places = group.start + latent[inside], rank[inside]
        found.tokens[places], found.times[places] = token[order][inside], times[order][inside]
    return found


def base_shares(counted: NDArray[np.bool_], corpus: TokenRows) -> NDArray[np.float64]:
    """`[n_vocab]`, share of each token among the counted tokens of training text; one that is none of them is taken to
    stand there once."""
    rows = corpus.row_ranges["train"]
    inside = slice(rows.start * corpus.n_ctx, rows.stop * corpus.n_ctx)
    tokens = np.asarray(corpus.tokens.reshape(-1)[inside])[counted[inside]]
    return np.maximum(np.bincount(tokens, minlength=len(corpus.vocabulary)), 1) / max(1, len(tokens))


def lower_share(times: NDArray, n: NDArray) -> NDArray[np.float64]:
    """Lower end of the 95 % interval of a share `times / n` (Wilson 1927)."""
    p, z2 = times / n, _Z * _Z
    middle, half = p + z2 / (2 * n), _Z * np.sqrt(p * (1 - p) / n + z2 / (4.0 * n * n))
    return (middle - half) / (1 + z2 / n)


def _next_tokens(
    starts: NDArray[np.int64], positions: NDArray, n_train: NDArray[np.int64], tokens: NDArray, documents: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Latent, from 0, and next token of the active places looked at, where the row and the document go on."""
    looked = np.minimum(n_train, PLACES)
    latent = np.repeat(np.arange(len(looked)), looked)
    number = np.arange(len(latent)) - np.repeat(np.cumsum(looked) - looked, looked)
    # The middle of each of as many equal parts of the column.
    entry = starts[latent] + (2 * number + 1) * n_train[latent] // (2 * looked[latent])
    position = np.asarray(positions[entry]).astype(np.int64)
    inside = np.flatnonzero((position + 1) % tokens.shape[1] > 0)
    latent, position = latent[inside], position[inside]
    documents = documents.reshape(-1)
    same = np.flatnonzero(documents[position] == documents[position + 1])
    return latent[same], np.asarray(tokens.reshape(-1)[position[same] + 1]).astype(np.int64)
