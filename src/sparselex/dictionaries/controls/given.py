"""What a control dictionary is made from."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Given(NamedTuple):
    """What a maker of a control dictionary may use; no maker needs all of it."""

    mean: Float[Tensor, " d_in"]
    """Of the activations."""

    covariance: Float[Tensor, "d_in d_in"]
    """Of the activations."""

    sample: Callable[[], Float[Tensor, "n d_in"]]
    """Gives the activations themselves that the moments were taken from; reading them takes time and memory."""

    d_sae: int
    """Directions of those that can have any number."""

    k: int
    """Active latents of each token, at most `d_in`."""

    generator: torch.Generator
    """What is random is drawn from it."""

    n_steps: int
    """Steps of a pursuit."""
