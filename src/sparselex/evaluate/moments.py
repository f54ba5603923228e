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

SAMPLE_TOKENS = 131_072
"""Tokens that are kept as they are, for controls that ask for them: 256 MiB at a width of 512."""


class Moments(NamedTuple):
    """Mean and covariance of the activations of training documents."""

    mean: Tensor
    covariance: Tensor


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
    """Mean and covariance of what is reconstructed over training rows (None: all of them), summed in float64.

    One pass, in which each token is taken as it differs from the mean of the first rows: sums of squares far from the
    origin would lose digits.
    """
    rows, n = training_rows(reader, n_rows), 0
    shift = total = torch.zeros(reader.d_out or reader.d_in, dtype=torch.float64)
    products = torch.zeros(len(total), len(total), dtype=torch.float64)
    with progress("moments", len(rows) * reader.corpus.n_ctx, "tokens") as bar:
        for part in _parts(rows, reader):
            x = target_of(reader.read(part))
            shift = shift if n or not len(x) else x.double().mean(0)
            x = x - shift.to(x.dtype)
            n, total = n + len(x), total + x.double().sum(0)
            products += (x.T @ x).double()
            bar.advance(len(part) * reader.corpus.n_ctx)
    mean = total / n
    return Moments((shift + mean).float(), products / n - torch.outer(mean, mean))


def _parts(rows: NDArray[np.int64], reader: Reader) -> list[NDArray[np.int64]]:
    return [rows[start : start + reader.batch_rows] for start in range(0, len(rows), reader.batch_rows)]
