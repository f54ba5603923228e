"""Samples that are drawn as they are needed, as a source of activations, and dictionaries that are trained on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.activations.source import ActivationSource, Batch
from sparselex.base.files import fingerprint
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.doomed.config import DoomedConfig
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

Draw = Callable[[torch.Generator, int], Float[Tensor, "n d_in"]]
"""So many activations, drawn with a generator."""

LR = 0.01
"""Peak learning rate: with the one that short runs of so few latents are given by default (0.06 of four), one or more
of these died in seven of twelve trials."""


class Drawn:
    """A source without end: activations from `draw`, and with `to_target` what is to be made of them."""

    def __init__(
        self,
        draw: Draw,
        seed: int,
        batch_size: int,
        to_target: Callable[[Float[Tensor, "n d_in"]], Float[Tensor, "n d_out"]] | None = None,
    ):
        self._draw, self._seed, self.batch_size, self._to_target = draw, seed, batch_size, to_target
        first = self.batch(0)
        self.d_in = first.x.shape[1]
        self.d_out = None if first.target is None else first.target.shape[1]
        self._batch = 0

    def batch(self, number: int) -> Batch:
        """Batch `number`; negative ones are held out from training."""
        generator = torch.Generator().manual_seed(derive(self._seed, "batch", number))
        x = self._draw(generator, self.batch_size)
        start = max(0, number) * self.batch_size
        target = None if self._to_target is None else self._to_target(x)
        return Batch(x, np.arange(start, start + self.batch_size), target)

    def next_batch(self) -> Batch:
        """The next batch, all positions new."""
        self._batch += 1
        return self.batch(self._batch - 1)

    def state(self) -> dict[str, Any]:
        """Number of the next batch."""
        return {"batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a batch."""
        self._batch = state["batch"]


class Place(NamedTuple):
    """One run of an example: how it is done, its own seed, and where its dictionaries lie."""

    config: DoomedConfig
    seed: int
    to: Path

    def generator(self, *purpose: str | int) -> torch.Generator:
        """A generator for one purpose."""
        return torch.Generator().manual_seed(derive(self.seed, *purpose))

    def held_out(self, draw: Draw) -> Float[Tensor, "n d_in"]:
        """What is measured on."""
        return draw(self.generator("held out"), self.config.n_held_out)


def trained(source: ActivationSource, place: Place, name: str, **fields: Any) -> Dictionary:
    """A dictionary of these `fields` (`kind`, `d_sae` and what else its configuration takes), trained on a source with
    the trainer that trains all others; one that is there already is taken."""
    config = place.config
    n_tokens = config.n_steps * config.batch_size
    widths: dict[str, Any] = {"d_in": source.d_in}
    if source.d_out is not None:
        widths["d_out"] = source.d_out
    parsed = TrainConfig.parse(
        {"dictionary": widths | fields, "n_tokens": n_tokens, "batch_size": config.batch_size, "lr": LR}
        | {"seed": place.seed % 2**32, "dead_after_tokens": max(1, n_tokens // 5), "log_steps": 1000},
        f"the configuration of {name}",
    )
    known = fingerprint([place.seed, config.net_steps, config.n_circuits, config.n_neurons])
    return train(source, parsed, place.to / name, inputs={"example": known})


@torch.no_grad()
def alive(dictionary: Dictionary, x: Float[Tensor, "n d_in"]) -> Bool[Tensor, " d_sae"]:
    """Latents that are active in some sample."""
    return (dictionary.encode(x) != 0).any(0)


@torch.no_grad()
def fvu(x_hat: Float[Tensor, "n d"], x: Float[Tensor, "n d"]) -> float:
    """Share of the variance that is not reconstructed."""
    return float((x - x_hat).square().sum() / (x - x.mean(0)).square().sum())


def components(x: Float[Tensor, "n d"], share: float = 1e-9) -> Float[Tensor, "m d"]:
    """Principal components of a sample, largest variance first; those below `share` of the largest are left out."""
    values, vectors = torch.linalg.eigh(torch.cov(x.double().T))
    return vectors.T.flip(0)[values.flip(0) > share * values[-1]].to(x.dtype)
