"""Shuffling for training: blocks of units drawn from all over the corpus, mixed token by token."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.prefetch import PrefetchedUnits
from sparselex.activations.source import Batch, EndOfData, Telling, Told, Units
from sparselex.base.errors import UserError
from sparselex.base.seeds import generator


class ShuffledSource:
    """Every token once an epoch, in an order that depends on the seed alone.

    An epoch is a random order of all units, cut into blocks of about `block_tokens`. A block is read whole and its
    tokens are shuffled, then given out in batches of nearly `batch_size` tokens (a block is divided evenly, so no token
    is dropped and none is carried over). The position is three integers, and going back to it costs reading one block:
    exact resume needs no copy of the buffer. Over `PrefetchedUnits` the blocks to come are read in the background; the
    position stays that of the batches given out.
    """

    def __init__(self, units: Units, *, batch_size: int, block_tokens: int, seed: int, n_epochs: int | None = None):
        """`n_epochs` None goes on without end."""
        if not units.n_units:
            raise UserError("There are no activations to train on.", "at least one token", "harvest more text.")
        self.units, self.batch_size, self.seed, self.n_epochs = units, batch_size, seed, n_epochs
        self._units_per_block = max(1, round(block_tokens / units.tokens_per_unit))
        self._epoch = self._block = self._batch = 0
        self._loaded: tuple[int, int] | None = None
        self._parts: list[Batch] = []

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self.units.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return self.units.d_out

    def tell(self, told: Told | None) -> None:
        """Call `told` while a block is read, where the units take their time over it."""
        if isinstance(self.units, Telling):
            self.units.tell(told)

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
            if self._block >= self._n_blocks:
                self._epoch, self._block = self._epoch + 1, 0

    def state(self) -> dict[str, Any]:
        """Epoch, block and batch that come next."""
        return {"epoch": self._epoch, "block": self._block, "batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned."""
        self._epoch, self._block, self._batch = state["epoch"], state["block"], state["batch"]

    def plan(self, n_batches: int) -> Iterator[NDArray[np.int64]]:
        """Positions of the first batches of an epoch as the shuffle deals them; no activation is read and the stream
        does not move.

        Tokens left out for their norm are only known once the model has been read: here they are still dealt.
        """
        block = 0
        while n_batches > 0 and block < self._n_blocks:
            positions = self.units.positions(self._block_units(0, block))
            for part in self._deal(0, block, len(positions))[:n_batches]:
                yield positions[part]
                n_batches -= 1
            block += 1

    @property
    def _n_blocks(self) -> int:
        return -(-self.units.n_units // self._units_per_block)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return generator(self.seed, "units", epoch).permutation(self.units.n_units)

    def _block_units(self, epoch: int, block: int) -> NDArray[np.int64]:
        return self._order(epoch)[block * self._units_per_block : (block + 1) * self._units_per_block]

    def _later(self, n: int) -> Iterator[tuple[int, int]]:
        """Epoch and block of the `n` blocks after this one, as far as there are any."""
        epoch, block = self._epoch, self._block
        for _ in range(n):
            epoch, block = (epoch, block + 1) if block + 1 < self._n_blocks else (epoch + 1, 0)
            if self.n_epochs is not None and epoch >= self.n_epochs:
                return
            yield epoch, block

    def _deal(self, epoch: int, block: int, n: int) -> list[NDArray[np.int64]]:
        """Which of the `n` tokens of a block go into each of its batches."""
        mix = generator(self.seed, "tokens", epoch, block).permutation(n)
        n_batches = max(1, round(n / self.batch_size)) if n else 0
        return [part for part in np.array_split(mix, n_batches or 1) if len(part)]

    def _load(self) -> None:
        here = self._block_units(self._epoch, self._block)
        if isinstance(self.units, PrefetchedUnits):
            read = self.units.read(here, [self._block_units(*later) for later in self._later(self.units.ahead)])
        else:
            read = self.units.read(here)
        parts = self._deal(self._epoch, self._block, len(read.positions))
        self._parts = [read.at(part) for part in parts]
        self._loaded = (self._epoch, self._block)
