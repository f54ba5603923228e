"""Coordinates as a control dictionary."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.controls.basis import Basis, BasisConfig
from sparselex.dictionaries.controls.given import Given


def make_neurons(given: Given) -> Basis:
    """The model's own coordinates."""
    return neurons(given.mean, given.k)


def neurons(mean: Float[Tensor, " d_in"], k: int) -> Basis:
    """The coordinates themselves, as deviations from their mean."""
    d_in = len(mean)
    return Basis(BasisConfig(kind="neurons", d_in=d_in, d_sae=d_in, k=k), torch.eye(d_in, device=mean.device), mean)
