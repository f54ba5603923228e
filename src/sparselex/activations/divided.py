"""Reading in several processes: each runs the model over its share of a block, and all get the whole block."""

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.source import Batch, Telling, Told, Units


class DividedUnits:
    """Units read by all processes of the group together, each a contiguous share of what is asked for.

    A block comes out the same in every process, and the same as one process would read it: what is trained does not
    depend on how many read. Every process must ask for the same units in the same order.
    """

    def __init__(self, units: Units):
        self._units = units
        self.n_units, self.tokens_per_unit = units.n_units, units.tokens_per_unit

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self._units.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return self._units.d_out

    def tell(self, told: Told | None) -> None:
        """Call `told` with what all processes have read together, as this one's share tells."""
        if isinstance(self._units, Telling):
            self._units.tell(told and (lambda n: told(n * dist.get_world_size())))

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Activations of the chosen units, in the order given."""
        mine = self._units.read(np.array_split(units, dist.get_world_size())[dist.get_rank()])
        positions = _gathered(torch.from_numpy(mine.positions)).numpy()
        target = None if mine.target is None else _gathered(mine.target)
        return Batch(_gathered(mine.x), positions, target)

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the tokens of the chosen units lie."""
        return self._units.positions(units)


def _gathered(part: Tensor) -> Tensor:
    """The parts of all processes, one after another; they may differ in length."""
    lengths = [torch.zeros((), dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor(len(part)))
    longest = int(torch.stack(lengths).max())
    padded = part.new_zeros(longest, *part.shape[1:])
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([found[: int(length)] for found, length in zip(parts, lengths, strict=True)])
