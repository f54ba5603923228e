"""Normalisation of each token by itself, undone in its reconstruction."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.kinds import TokenNorm

_EPS = 1e-5


class Normalised(NamedTuple):
    """Normalised tokens and what gives the raw ones back: `x * size + shift`."""

    x: Tensor
    """`[n, d]`."""

    size: Tensor
    """`[n, 1]`, what one normalised unit is in raw ones."""

    shift: Tensor
    """`[n, 1]`, the mean that was subtracted."""


def normalised(x: Float[Tensor, "n d"], how: TokenNorm) -> Normalised:
    """Each token by itself. A token without spread or length becomes zeros, with finite gradients.

    With `layer`, `x * size + shift` falls short of the raw token by the 1e-5 that is added to its deviation and, as in
    both projects, is not put back.
    """
    tiny = torch.finfo(x.dtype).tiny
    match how:
        case "layer":
            shift = x.mean(-1, keepdim=True)
            centred = x - shift
            variance = centred.square().sum(-1, keepdim=True) / max(1, x.shape[1] - 1)
            size = variance.clamp_min(tiny).sqrt()
            return Normalised(centred / (size + _EPS), size, shift)
        case "length":
            size = (x.square().sum(-1, keepdim=True) / x.shape[1]).clamp_min(tiny).sqrt()
            return Normalised(x / size, size, x.new_zeros(len(x), 1))
        case "mean":
            shift = x.mean(-1, keepdim=True)
            return Normalised(x - shift, x.new_ones(len(x), 1), shift)
        case "none":
            return Normalised(x, x.new_ones(len(x), 1), x.new_zeros(len(x), 1))
