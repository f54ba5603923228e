"""What is measured on the first batches: the scale of each site, and a sample for starting values."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from sparselex.activations.source import ActivationSource, Batch, EndOfData, check_finite
from sparselex.base.errors import UserError
from sparselex.dictionaries.vectors import spread


class Columns(NamedTuple):
    """The part of a stream that one dictionary reads and reconstructs."""

    x: slice = slice(None)
    """Columns of the activations."""

    target: slice = slice(None)
    """Columns of the target, where the stream has one."""

    def take(self, batch: Batch, is_autoencoder: bool) -> tuple[Tensor, Tensor]:
        """Input and target; one and the same tensor for an autoencoder."""
        x = batch.x[:, self.x]
        if is_autoencoder:
            return x, x
        if batch.target is None:
            raise UserError(
                "The stream has activations of one site only, and a transcoder needs those that it is to give.",
                "a source whose batches have a target",
                "read a second hook, or train an autoencoder.",
            )
        return x, batch.target[:, self.target]


def scales(x: Float[Tensor, "n d"], parts: Sequence[int], where: str) -> tuple[float, ...]:
    """For each site of `x`, the factor that brings it to E|x|² = width. Raises `UserError` where a site is zero
    throughout."""
    found = []
    for number, part in enumerate(x.split(list(parts), dim=-1)):
        square = part.double().square().sum().item()
        if not square:
            site = f" of site {number + 1}" if len(parts) > 1 else ""
            raise UserError(f"All {where}{site} are zero.", "activations that carry something", "check the hook.")
        found.append(math.sqrt(part.shape[1] * len(part) / square))
    return tuple(found)


def scaled(x: Float[Tensor, "n d"], parts: Sequence[int], factors: Sequence[float]) -> Float[Tensor, "n d"]:
    """Each site of `x` times its factor."""
    if len(factors) == 1:
        return x * factors[0]
    return x * spread(factors, parts, x)


def sample(source: ActivationSource, n_batches: int, n_tokens: int) -> list[Batch]:
    """The first batches, at most `n_batches` of them or `n_tokens` tokens; the source then goes back to where it
    was."""
    start, found, n = source.state(), list[Batch](), 0
    while len(found) < n_batches and n < n_tokens:
        try:
            found.append(source.next_batch())
        except EndOfData:  # a short source is calibrated on what it has
            break
        check_finite(found[-1], "The calibration")
        n += len(found[-1].positions)
    source.load_state(start)
    if not n:
        raise UserError("The source holds no activations.", "at least one batch", "harvest more text.")
    return found
