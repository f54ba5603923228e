"""What training asks of activations: batches, and a position that can be saved and restored."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


class Batch(NamedTuple):
    """Activations and where in the corpus they were read."""

    x: Float[Tensor, "n d_in"]
    """Activations, float32."""

    positions: NDArray[np.int64]
    """`[n]` positions in the corpus (`row * n_ctx + column`)."""


class EndOfData(Exception):
    """Raised by `next_batch` when every epoch has been given out."""


@runtime_checkable
class ActivationSource(Protocol):
    """A stream of batches that owns its position."""

    d_in: int
    """Width of the activations."""

    def next_batch(self) -> Batch:
        """The next batch. Raises `EndOfData` after the last."""
        ...

    def state(self) -> dict[str, Any]:
        """The position, as JSON values: enough to go on bit for bit."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned."""
        ...
