"""Coordinates as a control dictionary."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.controls.basis import Basis, BasisConfig
from sparselex.dictionaries.controls.given import Given

_TURNS = 4
"""Times that values for what is not kept are taken anew: after that the error of neurons moves by less than 1e-3."""


def make_neurons(given: Given) -> Basis:
    """The model's own coordinates."""
    return neurons(unkept_means(given.sample(), given.mean, given.k), given.k)


def unkept_means(x: Float[Tensor, "n d_in"], mean: Float[Tensor, " d_in"], k: int) -> Float[Tensor, " d_in"]:
    """What a coordinate is best taken for where it is not among the `k` kept ones: its mean over just these tokens.

    That depends on which are kept, those that lie farthest from it, and so the two are found in turns, beginning with
    the mean of all; each turn can only lower the squared error. Neurons that are mostly silent and sometimes large have
    a mean that they hardly ever take.
    """
    fill = mean
    for _ in range(_TURNS):
        n, total = torch.zeros_like(mean), torch.zeros_like(mean)
        for part in x.split(_CHUNK_TOKENS):
            far = (part - fill).abs()
            kept = far >= far.topk(k, dim=-1).values[:, -1:]
            n, total = n + (~kept).sum(0), total + part.masked_fill(kept, 0).sum(0)
        fill = torch.where(n > 0, total / n.clamp_min(1), mean)
    return fill


_CHUNK_TOKENS = 8192


def neurons(mean: Float[Tensor, " d_in"], k: int) -> Basis:
    """The coordinates themselves, as deviations from values that stand for those that are not kept."""
    d_in = len(mean)
    return Basis(BasisConfig(kind="neurons", d_in=d_in, d_sae=d_in, k=k), torch.eye(d_in, device=mean.device), mean)
