"""A source of activations without end whose true features, and true codes, are known."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.draw import Active, draw_active
from sparselex.activations.known.plan import Plan, plan_of
from sparselex.activations.source import Batch
from sparselex.base.seeds import derive, generator


class Known(NamedTuple):
    """A sample with its truth: `x` is the sum of the active directions with their coefficients, the bias and noise."""

    x: Float[Tensor, "n d_in"]
    """Activations, float32."""

    truth: Active
    """The features that are active in each token."""


class KnownFeatures:
    """Activations of known features, as an `ActivationSource`: batch after batch for training, and held-out samples
    that no batch repeats. The same seed and number give the same sample, whatever was drawn before."""

    d_out = None

    def __init__(self, config: KnownConfig, batch_size: int = 4096):
        self.config, self.batch_size, self.d_in = config, batch_size, config.d_in
        self.plan: Plan = plan_of(config)
        """How often features fire, and with which others."""

        self.directions: Float[Tensor, "n_features d_in"] = _unit_rows(config)
        """The true directions, unit norm."""

        self.bias: Float[Tensor, " d_in"] = _bias(config)
        """What lies under all activations."""

        draws = generator(config.seed, "sizes").standard_normal(config.n_features)
        self._sizes = np.exp(config.size_spread * draws)
        self._batch = 0

    def next_batch(self) -> Batch:
        """The next sample, all positions new."""
        start = self._batch * self.batch_size
        x = self._draw("sample", self._batch).x
        self._batch += 1
        return Batch(x, np.arange(start, start + self.batch_size))

    def sample(self, number: int) -> Known:
        """Training batch `number` with its truth."""
        return self._draw("sample", number)

    def held_out(self, number: int) -> Known:
        """Held-out sample `number`, none of which is trained on, with its truth."""
        return self._draw("held-out", number)

    def state(self) -> dict[str, Any]:
        """Number of the next sample."""
        return {"batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a sample."""
        self._batch = state["batch"]

    def _draw(self, purpose: str, number: int) -> Known:
        config, seed = self.config, derive(self.config.seed, purpose, number)
        truth = draw_active(config, self.plan, self._sizes, self.batch_size, generator(seed, "active"))
        offsets = np.searchsorted(truth.rows, np.arange(self.batch_size))
        x = functional.embedding_bag(
            torch.from_numpy(truth.features),
            self.directions,
            torch.from_numpy(offsets),
            mode="sum",
            per_sample_weights=torch.from_numpy(truth.values.astype(np.float32)),
        )
        x += self.bias
        if config.noise:
            draws = torch.Generator().manual_seed(derive(seed, "noise"))
            x += config.noise * torch.randn(x.shape, generator=draws)
        return Known(x, truth)


def _unit_rows(config: KnownConfig) -> Tensor:
    draws = torch.Generator().manual_seed(derive(config.seed, "directions"))
    return functional.normalize(torch.randn(config.n_features, config.d_in, generator=draws), dim=-1)


def _bias(config: KnownConfig) -> Tensor:
    draws = torch.Generator().manual_seed(derive(config.seed, "bias"))
    return config.bias * functional.normalize(torch.randn(config.d_in, generator=draws), dim=-1)
