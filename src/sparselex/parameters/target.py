"""What can be decomposed: anything whose named matrices can be replaced while it runs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

LinearMap = Callable[[Tensor], Tensor]
"""`[n, d_in]` in, `[n, d_out]` out, in the place of `x @ W.T`; biases are the target's own."""


class Ran(NamedTuple):
    """What one run of a target gave."""

    output: Tensor
    """What it is about, a row for each input."""

    inputs: dict[str, Tensor]
    """`[n, d_in]` that each matrix read."""


@runtime_checkable
class Target(Protocol):
    """A model with named linear maps: a toy, or a part of a language model."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The matrices `[d_out, d_in]`, by name, in the order in which they are read. They are never changed."""
        ...

    def run(self, x: Tensor, maps: Mapping[str, LinearMap]) -> Ran:
        """Run on inputs `x`, a row each, with some of the matrices replaced; without any it is the model itself."""
        ...

    def distance(self, output: Tensor, reference: Tensor) -> Float[Tensor, " n"]:
        """How far each row of an output lies from that of the model itself, 0 where they are the same."""
        ...
