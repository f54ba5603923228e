"""What control dictionaries are made from: mean, covariance and a sample of what is reconstructed, over training
documents."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader, spread
from sparselex.activations.source import Batch
from sparselex.base.progress import progress
from sparselex.text.rows import tokens_at

SAMPLE_TOKENS = 131_072
"""Tokens that are kept as they are, for controls that ask for them: 256 MiB at a width of 512."""


_PAIR_NUMBERS = 2**27
"""Numbers that are kept of pairs of tokens: 512 MiB, a quarter of a million pairs at a width of 512."""


class TokenSums(NamedTuple):
    """What each token has to do with the activations on it."""

    deviations: Tensor
    """`[n_vocab, width]`, how far from the mean of all they are, summed; float64."""

    n: Tensor
    """`[n_vocab]`, how often the token was read; float64."""


class PairSums(NamedTuple):
    """What pairs of a token and the one before it have to do with the activations on it; of pairs that were read more
    than once, the most frequent."""

    pairs: NDArray[np.int64]
    """`[n_pairs]`, ascending: token before · vocabulary + token."""

    sums: Tensor
    """`[n_pairs, width]`, the activations less the mean of all, summed; float32."""

    n: Tensor
    """`[n_pairs]`, how often each was read; float32."""

    def found(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """`[n]` places of pairs, and which of them are known."""
        if not len(self.pairs):
            return np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=bool)
        places = np.searchsorted(self.pairs, pairs).clip(max=len(self.pairs) - 1)
        return places, self.pairs[places] == pairs


class Moments(NamedTuple):
    """Mean and covariance of the activations of training documents, and sums by token."""

    mean: Tensor
    """`[width]`."""

    covariance: Tensor
    """`[width, width]`, float64."""

    of_tokens: TokenSums
    """Sums by token."""

    of_pairs: PairSums
    """Sums by token and the one before it."""

    n_rows: int
    """Training rows that all of this is from."""


def target_of(batch: Batch) -> Tensor:
    """What is reconstructed: the target, or the activations themselves."""
    return batch.x if batch.target is None else batch.target


def training_rows(reader: Reader, n_rows: int | None) -> NDArray[np.int64]:
    """At most `n_rows` rows of the training split, spread over all of it: the first ones would be a few documents."""
    return spread(reader.corpus.row_ranges["train"], n_rows)


def training_sample(reader: Reader, n_rows: int | None) -> Tensor:
    """What is reconstructed over training rows, `[n, width]`, of `SAMPLE_TOKENS` tokens at most."""
    most = max(1, SAMPLE_TOKENS // reader.corpus.n_ctx)
    rows = training_rows(reader, min(n_rows or most, most))
    return torch.cat([target_of(reader.read(part)) for part in _parts(rows, reader)])


@torch.no_grad()
def moments(reader: Reader, n_rows: int | None) -> Moments:
    """Mean, covariance and sums by token of what is reconstructed over training rows (None: all of them), in float64.

    One pass, in which each token is taken as it differs from the mean of the first rows: sums of squares far from the
    origin would lose digits.
    """
    rows, n = training_rows(reader, n_rows), 0
    shift = total = torch.zeros(reader.d_out or reader.d_in, dtype=torch.float64)
    products = torch.zeros(len(total), len(total), dtype=torch.float64)
    by_token = torch.zeros(len(reader.corpus.vocabulary), len(total), dtype=torch.float64)
    n_tokens = torch.zeros(len(by_token), dtype=torch.float64)
    pairs = _frequent_pairs(reader, rows, len(total))
    with progress("moments", len(rows) * reader.corpus.n_ctx, "tokens") as bar:
        for part in _parts(rows, reader):
            batch = reader.read(part)
            x, (tokens, previous) = target_of(batch), tokens_at(reader.corpus, batch.positions)
            shift = shift if n or not len(x) else x.double().mean(0)
            x = x - shift.to(x.dtype)
            n, total = n + len(x), total + x.double().sum(0)
            products += (x.T @ x).double()
            _add_by_token(by_token, n_tokens, x, tokens)
            places, known = pairs.found(pair_ids(tokens, previous, len(by_token)))
            _add_by_token(pairs.sums, pairs.n, x[torch.from_numpy(known)], places[known])
            bar.advance(len(part) * reader.corpus.n_ctx)
    mean = total / n
    covariance = products / n - torch.outer(mean, mean)
    of_tokens = TokenSums(by_token - n_tokens[:, None] * mean, n_tokens)
    pairs.sums.sub_(pairs.n[:, None] * mean.float())
    return Moments((shift + mean).float(), covariance, of_tokens, pairs, len(rows))


def pair_ids(tokens: NDArray[np.int64], previous: NDArray[np.int64], n_vocab: int) -> NDArray[np.int64]:
    """`[n]` one number for each token with the one before it."""
    return previous.astype(np.int64) * n_vocab + tokens


def _frequent_pairs(reader: Reader, rows: NDArray[np.int64], width: int) -> PairSums:
    """Room for the pairs of these rows that stand there more than once, as many as there is memory for."""
    tokens = reader.corpus.tokens[rows].astype(np.int64)
    pairs = pair_ids(tokens[:, 1:], tokens[:, :-1], len(reader.corpus.vocabulary))
    found, counts = np.unique(pairs[reader.corpus.text_mask(rows)[:, 1:]], return_counts=True)
    frequent = np.flatnonzero(counts > 1)
    most = max(1, _PAIR_NUMBERS // width)
    frequent = np.sort(frequent[np.argsort(-counts[frequent], kind="stable")[:most]])
    return PairSums(found[frequent], torch.zeros(len(frequent), width), torch.zeros(len(frequent)))


def _add_by_token(sums: Tensor, n: Tensor, x: Tensor, tokens: NDArray[np.int64]) -> None:
    """Add rows of `x` to the sums of their tokens; sorted first, since adding them one by one takes thirty times as
    long."""
    if not len(tokens):
        return
    order = np.argsort(tokens, kind="stable")
    found, first, counts = np.unique(tokens[order], return_index=True, return_counts=True)
    places = torch.from_numpy(found)
    sums[places] += torch.from_numpy(np.add.reduceat(x.numpy()[order], first)).to(sums.dtype)
    n[places] += torch.from_numpy(counts)


def _parts(rows: NDArray[np.int64], reader: Reader) -> list[NDArray[np.int64]]:
    return [rows[start : start + reader.batch_rows] for start in range(0, len(rows), reader.batch_rows)]
