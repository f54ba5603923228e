"""Shuffling for training: blocks of units drawn from all over the corpus, mixed token by token."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.source import Batch, EndOfData
from sparselex.base.errors import UserError
from sparselex.base.seeds import generator


@runtime_checkable
class Units(Protocol):
    """Pieces of a corpus that can be read in any order: rows of text (live) or chunks of shards."""

    d_in: int
    d_out: int | None
    n_units: int
    tokens_per_unit: int

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Activations of the chosen units."""
        ...


class ShuffledSource:
    """Every token once an epoch, in an order that depends on the seed alone.

    An epoch is a random order of all units, cut into blocks of about `block_tokens`. A block is read whole and its tokens are
    shuffled, then given out in batches of nearly `batch_size` tokens (a block is divided evenly, so no token is dropped and none
    is carried over). The position is three integers, and going back to it costs reading one block: exact resume needs no copy of
    the buffer.
    """

    def __init__(self, units: Units, *, batch_size: int, block_tokens: int, seed: int, n_epochs: int | None = None):
        """`n_epochs` None goes on without end."""
        if not units.n_units:
            raise UserError("There are no activations to train on.", "at least one token", "harvest more text.")
        self.units, self.batch_size, self.seed, self.n_epochs = units, batch_size, seed, n_epochs
        self.d_in, self.d_out = units.d_in, units.d_out
        self._units_per_block = max(1, round(block_tokens / units.tokens_per_unit))
        self._epoch = self._block = self._batch = 0
        self._loaded: tuple[int, int] | None = None
        self._parts: list[Batch] = []

    def next_batch(self) -> Batch:
        """The next batch. Raises `EndOfData` after the last epoch."""
        while True:
            if self.n_epochs is not None and self._epoch >= self.n_epochs:
                raise EndOfData
            if self._loaded != (self._epoch, self._block):
                self._load()
            if self._batch < len(self._parts):
                self._batch += 1
                return self._parts[self._batch - 1]
            self._batch, self._block = 0, self._block + 1
            if self._block * self._units_per_block >= self.units.n_units:
                self._epoch, self._block = self._epoch + 1, 0

    def state(self) -> dict[str, Any]:
        """Epoch, block and batch that come next."""
        return {"epoch": self._epoch, "block": self._block, "batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned."""
        self._epoch, self._block, self._batch = state["epoch"], state["block"], state["batch"]

    def _load(self) -> None:
        order = generator(self.seed, "units", self._epoch).permutation(self.units.n_units)
        start = self._block * self._units_per_block
        read = self.units.read(order[start : start + self._units_per_block])
        n = len(read.positions)
        mix = generator(self.seed, "tokens", self._epoch, self._block).permutation(n)
        n_batches = max(1, round(n / self.batch_size)) if n else 0
        self._parts = [read.at(part) for part in np.array_split(mix, n_batches or 1) if len(part)]
        self._loaded = (self._epoch, self._block)
