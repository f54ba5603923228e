"""What training asks of activations: batches, and a position that can be saved and restored."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError


class Batch(NamedTuple):
    """Activations and where in the corpus they were read."""

    x: Float[Tensor, "n d_in"]
    """Activations, float32."""

    positions: NDArray[np.int64]
    """`[n]` positions in the corpus (`row * n_ctx + column`)."""

    target: Float[Tensor, "n d_out"] | None = None
    """What is to be reconstructed, where it is not `x`, float32."""

    def at(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> "Batch":
        """The chosen tokens, by number or by mask."""
        chosen = torch.from_numpy(places)
        target = None if self.target is None else self.target[chosen]
        return Batch(self.x[chosen], self.positions[places], target)

    @staticmethod
    def join(parts: "Sequence[Batch]") -> "Batch":
        """One batch after another, at least one."""
        targets = [part.target for part in parts if part.target is not None]
        return Batch(
            torch.cat([part.x for part in parts]),
            np.concatenate([part.positions for part in parts]),
            torch.cat(targets) if targets else None,
        )


Told = Callable[[int], Any]
"""Called with the number of tokens whose activations have just been read."""


@runtime_checkable
class Telling(Protocol):
    """A source, or units, that takes its time and says while it reads how far it is."""

    def tell(self, told: Told | None) -> None:
        """Call `told` now and then while activations are read, from now on; with None nobody."""
        ...


@contextmanager
def heard(source: Any, told: Told) -> Iterator[None]:
    """While this is open, `told` is told what `source` reads, if it is `Telling`."""
    if not isinstance(source, Telling):
        yield
        return
    source.tell(told)
    try:
        yield
    finally:
        source.tell(None)


class EndOfData(Exception):
    """Raised by `next_batch` when every epoch has been given out."""


def check_finite(batch: Batch, name: str) -> None:
    """Raises `UserError` naming the first row of `batch` that holds NaN or infinity, and where in the corpus it was
    read.

    `name` begins the message: what the batch is.
    """
    for values in (batch.x, batch.target):
        # One bad number makes the sum bad, and the sum is far cheaper than looking at each.
        if values is None or torch.isfinite(values.sum()):
            continue
        bad = (~torch.isfinite(values).all(-1)).nonzero().view(-1)
        if not len(bad):
            continue
        raise UserError(
            f"{name} holds NaN or infinite activations, first in its row {int(bad[0])} "
            f"(corpus position {int(batch.positions[int(bad[0])])}).",
            "finite numbers",
            "check the model's weights and precision (bfloat16 overflows less than float16); what is finished is "
            "kept, and goes on from there.",
        )


@runtime_checkable
class ActivationSource(Protocol):
    """A stream of batches that owns its position."""

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        ...

    @property
    def d_out(self) -> int | None:
        """Width of the target, None where there is none of its own."""
        ...

    def next_batch(self) -> Batch:
        """The next batch. Raises `EndOfData` after the last."""
        ...

    def state(self) -> dict[str, Any]:
        """The position, as JSON values: enough to go on bit for bit."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned."""
        ...


@runtime_checkable
class Units(Protocol):
    """Pieces of a corpus that can be read in any order: live from the model, stored on disk, and either of them read
    ahead (`PrefetchedUnits`) or divided among processes (`DividedUnits`)."""

    n_units: int
    """How many there are."""

    tokens_per_unit: int
    """Tokens in each, at most."""

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        ...

    @property
    def d_out(self) -> int | None:
        """Width of the target, None where there is none of its own."""
        ...

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Activations of the chosen units."""
        ...

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the tokens of the chosen units lie, in the order of `read`, without reading any activation."""
        ...
