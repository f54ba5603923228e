"""Hard sigmoids that leak on one side, so that what has left the range between 0 and 1 there still has a gradient.

Bushnaq, Braun and Sharkey 2025 (arXiv:2506.20790), section 3: masks are made of the one that leaks below 0, the penalty
takes the one that leaks above 1. Values leak as well as gradients, as there.
"""

import torch
from jaxtyping import Float
from torch import Tensor

LEAK = 0.01
"""Slope outside of the range."""


def leaky_below(gates: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """`gates` between 0 and 1, with slope `LEAK` below 0 and 1 above 1: what masks are made of."""
    return torch.where(gates < 0, LEAK * gates, gates.clamp(max=1.0))


def leaky_above(gates: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """`gates` between 0 and 1, 0 below 0 and with slope `LEAK` above 1: what the penalty is of."""
    return torch.where(gates > 1, 1 + LEAK * (gates - 1), gates.clamp(min=0.0))


def importance(gates: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Causal importances between 0 and 1, as figures and pages have them: no leak."""
    return gates.clamp(0.0, 1.0)
