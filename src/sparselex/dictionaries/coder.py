"""What an index is built of: anything that turns activations into sparse codes."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes


@runtime_checkable
class Coder(Protocol):
    """A dictionary, neurons, directions of a probe, components of weights: whatever is active on some tokens.

    One that is also a `Dictionary` has directions, from which neighbours and logit effects follow.
    """

    d_in: int
    """Width of the activations read."""

    d_sae: int
    """Number of latents."""

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents of each token; those that are not listed are 0."""
        ...


def device_of(coder: Coder) -> torch.device:
    """Where a coder computes: a module where its tensors are, any other on the CPU."""
    if isinstance(coder, nn.Module):
        for tensor in (*coder.parameters(), *coder.buffers()):
            return tensor.device
    return torch.device("cpu")


def check_reads(coder: Coder, width: int, where: str) -> None:
    """Raise `UserError` if activations of `width`, read at `where`, are none that `coder` codes."""
    if width != coder.d_in:
        raise UserError(
            f"{where} has width {width}, and the dictionary reads width {coder.d_in}.",
            f"activations of width {coder.d_in}",
            "use the dictionary with the hook and the model it was trained on.",
        )
