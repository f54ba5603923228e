"""Synthetic activations with known features: sparse mixtures of planted directions."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.base.config import Config
from sparselex.base.seeds import derive


class MixtureConfig(Config):
    """A planted dictionary."""

    d_in: PositiveInt = 64
    """Width of the activations."""

    n_features: PositiveInt = 128
    """Planted directions, random with unit norm."""

    l0: PositiveFloat = 4
    """Expected number of features active in a token."""

    d_out: PositiveInt | None = None
    """Width of a target of its own: the same coefficients on other planted directions; None for no target."""

    noise: NonNegativeFloat = 0.0
    """Standard deviation of Gaussian noise on every coordinate."""

    seed: int = 0
    """Seed of directions and samples."""


class SparseMixture:
    """A source without end: each token is a sum of a few planted directions with coefficients uniform in [0.5, 1.5]."""

    def __init__(self, config: MixtureConfig, batch_size: int = 1024):
        self.config, self.batch_size, self.d_in, self.d_out = config, batch_size, config.d_in, config.d_out
        self.directions = _unit_rows(config.n_features, config.d_in, derive(config.seed, "directions"))
        self.target_directions = (
            None if config.d_out is None else _unit_rows(config.n_features, config.d_out, derive(config.seed, "target"))
        )
        self._batch = 0

    def next_batch(self) -> Batch:
        """The next sample, all positions new."""
        start = self._batch * self.batch_size
        batch = self.draw(self._batch)
        self._batch += 1
        return batch._replace(positions=np.arange(start, start + self.batch_size))

    def sample(self, number: int) -> Float[Tensor, "n d_in"]:
        """Activations of sample `number`, always the same."""
        return self.draw(number).x

    def draw(self, number: int) -> Batch:
        """Sample `number` with its target, positions counted from 0."""
        config = self.config
        generator = torch.Generator().manual_seed(derive(config.seed, "sample", number))
        active = torch.rand(self.batch_size, config.n_features, generator=generator) < config.l0 / config.n_features
        sizes = 0.5 + torch.rand(active.shape, generator=generator)
        noise = torch.randn(self.batch_size, config.d_in, generator=generator)
        coefficients = active * sizes
        target = None if self.target_directions is None else coefficients @ self.target_directions
        return Batch(coefficients @ self.directions + config.noise * noise, np.arange(self.batch_size), target)

    def state(self) -> dict[str, Any]:
        """Number of the next sample."""
        return {"batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a sample."""
        self._batch = state["batch"]


def _unit_rows(n: int, d: int, seed: int) -> Float[Tensor, "n d"]:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=-1, keepdim=True)
