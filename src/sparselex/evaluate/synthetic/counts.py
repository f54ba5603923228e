"""What latents do where their features are active, counted over held-out samples: entries of sparse codes alone, no
`[n_tokens, d_sae]` table."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.known.draw import Active

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Counts(NamedTuple):
    """Sums over the tokens of one sample, `[n_latents]` each; `a` is a latent's activation as the length of what it
    writes, `c` the coefficient of its feature."""

    n_active: Floats
    """Tokens in which the latent is active with the sign of its feature."""

    n_true: Floats
    """Tokens in which its feature is."""

    n_both: Floats
    """Tokens in which both are."""

    a: Floats
    aa: Floats
    c: Floats
    cc: Floats
    ac: Floats

    cc_both: Floats
    """Of the squared coefficient where both are active."""


def counted(codes: Active, truth: Active, feature: Ints, sign: Floats, n_features: int) -> Counts:
    """The sums of one sample.

    Args:
        codes: the latents' activations as lengths, ordered by token.
        truth: what is active, ordered by token and by feature.
        feature: `[n_latents]`, the feature of each latent; -1 for none.
        sign: `[n_latents]`, which sign of its activations stands for it.
        n_features: known features.
    """
    n = len(feature)
    values = codes.values * sign[codes.features]
    on = (values > 0) & (feature[codes.features] >= 0)
    rows, latents, values = codes.rows[on], codes.features[on], values[on]
    places, both = _found(truth, rows, feature[latents], n_features)
    coefficients = np.where(both, truth.values[places], 0.0)
    of_latent = lambda weights=None: np.bincount(latents, weights, minlength=n).astype(np.float64)
    matched = feature >= 0
    of_feature = lambda weights=None: np.where(
        matched, np.bincount(truth.features, weights, minlength=n_features)[feature], 0.0
    )
    return Counts(
        of_latent(),
        of_feature(),
        of_latent(both.astype(np.float64)),
        of_latent(values),
        of_latent(values**2),
        of_feature(truth.values),
        of_feature(truth.values**2),
        of_latent(values * coefficients),
        of_latent(coefficients**2),
    )


def _found(truth: Active, rows: Ints, features: Ints, n_features: int) -> tuple[Ints, NDArray[np.bool_]]:
    """For each pair of token and feature its place among what is active, and whether it is there at all."""
    if not len(truth.rows):
        return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
    keys, wanted = truth.rows * n_features + truth.features, rows * n_features + features
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return places, keys[places] == wanted
