"""Activations of two attributes, each with one value in every token: a long direction and a short one, added."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.base.seeds import derive, generator


class TwoAttributes:
    """A source without end: `x = u[i] + v[j]`, with i and j uniform and independent, and Gaussian directions of which
    those of u are `ratio` times as long as those of v, whose mean length is 1."""

    d_out = None

    def __init__(self, ratio: float, *, n_values: int = 50, d_in: int = 64, batch_size: int = 256, seed: int = 0):
        self.n_values, self.d_in, self.batch_size, self._seed, self._batch = n_values, d_in, batch_size, seed, 0
        draws = torch.Generator().manual_seed(derive(seed, "directions"))
        rows = torch.randn(2, n_values, d_in, generator=draws)
        rows *= torch.tensor([ratio, 1.0])[:, None, None] / rows.norm(dim=-1).mean(-1)[:, None, None]
        self.large, self.small = rows[0], rows[1]

    def next_batch(self) -> Batch:
        """The next sample, all positions new."""
        start = self._batch * self.batch_size
        x, _ = self.sample(self._batch)
        self._batch += 1
        return Batch(x, np.arange(start, start + self.batch_size))

    def sample(self, number: int) -> tuple[Float[Tensor, "n d_in"], NDArray[np.int64]]:
        """Sample `number` and its values `[2, n]`; negative numbers are held out from training."""
        values = generator(self._seed, "values", number).integers(0, self.n_values, (2, self.batch_size))
        i, j = torch.from_numpy(values)
        return self.large[i] + self.small[j], values

    def state(self) -> dict[str, Any]:
        """Number of the next sample."""
        return {"batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a sample."""
        self._batch = state["batch"]
