"""Which latent stands for which known feature: one to one, by the cosine of directions."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor
from torch.nn import functional

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_CHUNK_NUMBERS = 2**24
"""Cosines held at a time, 64 MiB."""

CANDIDATES = 16
"""Nearest features that a latent may be matched to, and nearest latents of a feature: with all of them the matching of
trained dictionaries (1,024 latents, 4,096 features) was the same, and that of random rows better by less than 0.1 %."""


class Candidates(NamedTuple):
    """The nearest of all pairs, each once."""

    latents: Ints
    features: Ints
    cosines: Floats
    """Signed."""

    of_latents: Floats
    """`[n_latents]`, each latent's largest cosine with a feature."""

    nearest: Ints
    """`[n_latents]`, that feature."""

    of_features: Floats
    """`[n_features]`, each feature's largest cosine with a latent."""


class Matching(NamedTuple):
    """A one-to-one matching, `[n_latents]` each."""

    feature: Ints
    """The latent's feature; -1 for a latent that has none."""

    cosine: Floats
    """Their cosine, of signed latents its size; 0 without a feature."""

    sign: Floats
    """Which sign of the latent's activations stands for the feature: 1 or -1."""


@torch.no_grad()
def candidates(
    rows: Float[Tensor, "n_latents d"],
    directions: Float[Tensor, "n_features d"],
    *,
    signed: bool = False,
    most: int = CANDIDATES,
) -> Candidates:
    """The `most` nearest features of each latent and latents of each feature, by cosine; `signed` latents by its size.

    Takes `n_latents * n_features * d` multiplications twice, and never holds more than a strip of the cosines.
    """
    rows, directions = functional.normalize(rows.float(), dim=-1), functional.normalize(directions.float(), dim=-1)
    here, best = _nearest(rows, directions, signed, most)
    there, best_of_features = _nearest(directions, rows, signed, most)
    latents = np.concatenate([_numbers(here), there.ravel()])
    features = np.concatenate([here.ravel(), _numbers(there)])
    latents, features = np.divmod(np.unique(latents * len(directions) + features), len(directions))
    cosines = _cosines(rows, directions, latents, features)
    return Candidates(latents, features, cosines, best, here[:, 0], best_of_features)


def match(found: Candidates, *, signed: bool = False) -> Matching:
    """The one-to-one matching of latents with features whose cosines have the largest sum (Jonker and Volgenant's
    algorithm on the candidates alone). Nobody is matched to what points away from it."""
    n = len(found.of_latents)
    weights = np.abs(found.cosines) if signed else found.cosines
    good = weights > 0
    # A place for itself alone lets every latent go unmatched at the price of a cosine of 0; all are raised by 1, since
    # an entry of 0 would be none.
    rows = np.concatenate([found.latents[good], np.arange(n)])
    columns = np.concatenate([found.features[good], len(found.of_features) + np.arange(n)])
    table = coo_array(
        (np.concatenate([1 + weights[good], np.ones(n)]), (rows, columns)), shape=(n, len(found.of_features) + n)
    )
    _, chosen = min_weight_full_bipartite_matching(table.tocsr(), maximize=True)
    feature = np.where(chosen < len(found.of_features), chosen, -1).astype(np.int64)
    cosine = _looked_up(found, feature)
    return Matching(feature, np.abs(cosine), np.where(cosine < 0, -1.0, 1.0))


def _nearest(rows: Tensor, others: Tensor, signed: bool, most: int) -> tuple[Ints, Floats]:
    """Numbers `[n, most]` of the nearest others of each row, the nearest first, and how near the first is; nothing and
    0 where there are no others."""
    if not len(others):
        return np.zeros((len(rows), 0), dtype=np.int64), np.zeros(len(rows))
    most, places, values = min(most, len(others)), [], []
    for part in rows.split(max(1, _CHUNK_NUMBERS // len(others))):
        cosines = part @ others.T
        best = (cosines.abs() if signed else cosines).topk(most, dim=-1)
        places.append(best.indices)
        values.append(best.values[:, 0])
    return torch.cat(places).numpy(), torch.cat(values).double().numpy()


def _numbers(places: Ints) -> Ints:
    return np.repeat(np.arange(len(places)), places.shape[1])


def _cosines(rows: Tensor, directions: Tensor, latents: Ints, features: Ints) -> Floats:
    found = [
        (rows[torch.from_numpy(latents[part])] * directions[torch.from_numpy(features[part])]).sum(-1)
        for part in np.array_split(np.arange(len(latents)), max(1, latents.size * rows.shape[1] // _CHUNK_NUMBERS))
    ]
    return torch.cat(found).double().numpy()


def _looked_up(found: Candidates, feature: Ints) -> Floats:
    """The signed cosine of each latent with its feature; 0 without one."""
    n_features = len(found.of_features)
    matched = np.flatnonzero(feature >= 0)
    keys = found.latents * n_features + found.features
    cosine = np.zeros(len(feature))
    cosine[matched] = found.cosines[np.searchsorted(keys, matched * n_features + feature[matched])]
    return cosine
