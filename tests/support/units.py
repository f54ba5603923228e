"""Units made of numbers alone, for what happens around reading; importable by another process."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.base.seeds import generator


class NumberUnits:
    """Each unit is 16 tokens of random numbers that depend on its number alone. Chosen ones fail."""

    d_in, d_out, tokens_per_unit = 8, None, 16

    def __init__(self, n_units=40, *, refuses=None, fails=None, nan=None, log: Path | None = None):
        self.n_units, self.refuses, self.fails, self.nan, self.log = n_units, refuses, fails, nan, log

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Their numbers; with `log` a line is written for every call."""
        if self.log:
            with open(self.log, "a") as file:
                print(*units, file=file)
        if self.refuses in units:
            raise UserError(f"Unit {self.refuses} is no good.", "a good unit", "leave it out.")
        if self.fails in units:
            raise ZeroDivisionError(f"unit {self.fails}")
        x = [generator(0, int(unit)).standard_normal((16, 8), dtype=np.float32) for unit in units]
        values = torch.from_numpy(np.concatenate(x))
        if self.nan in units:
            values[np.flatnonzero(units == self.nan) * 16, 3] = float("nan")
        return Batch(values, self.positions(units))

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """`unit * 16 + token`."""
        return (units[:, None] * 16 + np.arange(16)).reshape(-1)
