"""What a norm does to directions, its scale left out: asked of the norm itself, whatever class it is."""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LARGE = 1e4
"""Size of the numbers that a norm is asked with: beside their squares its epsilon is nothing."""


class Linear(NamedTuple):
    """A norm as a linear map, up to the scale that it takes from each token."""

    weight: Float[Tensor, " width"]
    """What each coordinate is multiplied by."""

    centres: bool
    """Whether the mean over the coordinates is taken out first."""

    def after(self, directions: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Directions in front of the norm as they are behind it."""
        if self.centres:
            directions = directions - directions.mean(-1, keepdim=True)
        return directions * self.weight

    def before(self, readers: Float[Tensor, "width n"]) -> Float[Tensor, "width n"]:
        """What reads behind the norm as what reads in front of it."""
        readers = readers * self.weight[:, None]
        return readers - readers.mean(0, keepdim=True) if self.centres else readers


def linear(norm: nn.Module, width: int) -> Linear:
    """What `norm` does to the directions of vectors `width` wide.

    It is run on three vectors: families keep weight or weight - 1, centre or not, and call their classes anything.
    """
    norm = copy.deepcopy(norm).float()
    device = next((tensor.device for tensor in norm.state_dict().values()), torch.device("cpu"))
    x = torch.ones(width, device=device)
    x[1::2] = -1
    if width % 2:  # the mean stays zero
        x[-3:] = torch.tensor([1.0, 1.0, -2.0])
    x = x / x.square().mean().sqrt()
    with torch.no_grad():
        plain, turned, moved = norm(torch.stack([x, -x, x + 3])[None] * _LARGE)[0]
    weight = (plain - turned) / 2 / x
    return Linear(weight, centres=bool((moved - plain).norm() < 1e-3 * weight.norm()))
