"""Activations in one byte each: every token has a scale of its own, so that a loud token does not blur the others."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

_MOST = 127
"""Symmetric range: -128 is never used, so that x and -x are rounded alike."""


class Quantised(NamedTuple):
    """Tokens as integers and their scales."""

    acts: Int8[Tensor, "n d"]
    """Integers from -127 to 127."""

    scale: Float[Tensor, " n"]
    """What one step is worth in each token, float32: its largest |x| / 127; 0 for a token of zeros."""


def quantise(x: Float[Tensor, "n d"]) -> Quantised:
    """Round every token to 255 even steps over its own range. `x` is finite (float32).

    Each element is off by half a step at most, that is by 1/254 of the token's largest |x| (and float32 rounding; below
    1e-35, where a step is subnormal, by more).
    """
    scale = x.abs().amax(-1) / _MOST
    steps = x / torch.where(scale == 0, 1, scale)[:, None]
    return Quantised(steps.round_().clamp_(-_MOST, _MOST).to(torch.int8), scale)


def restore(acts: Int8[Tensor, "n d"], scale: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """The float32 activations that `quantise` rounded."""
    return acts.float().mul_(scale[:, None])
