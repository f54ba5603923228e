"""What an edit is: a place, tokens, and what takes the place of the values there. `causal/edits.py` makes them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.latents import Latents
from sparselex.causal.where import EVERYWHERE, Where, of_rows


@dataclass(frozen=True, kw_only=True)
class Edit(ABC):
    """A change of the values at one hook."""

    hook: Hook
    """The site."""

    where: Where = EVERYWHERE
    """The tokens."""

    @abstractmethod
    def change(
        self, values: Float[Tensor, "n d"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        """What takes the place of values at these rows and positions; float32."""

    def check(self, n_rows: int, width: int, last: int) -> None:
        """Raise `UserError` if something in it is of another number of rows or of another width, or has nothing for the
        `last` position that is edited."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and value.ndim > 1 and 1 < value.shape[1] <= last:
                raise UserError(
                    f"An edit with {field.name} of {value.shape[1]} tokens was put on position {last}.",
                    "one entry for each token that is edited, counted from the row's first, or one for all",
                    "give as many as the rows have, or say by `where` which tokens are edited.",
                )
            if isinstance(value, Tensor) and len(value) not in (1, n_rows):
                raise UserError(
                    f"An edit with {len(value)} {field.name} was put on {n_rows} rows.",
                    "one entry for each row, or one for all",
                    "give as many as there are rows.",
                )
            if isinstance(value, Tensor) and value.ndim == 3 and value.shape[2] not in (1, width):
                raise UserError(
                    f"An edit with {field.name} of width {value.shape[2]} was put on {self.hook}, of width {width}.",
                    f"vectors of width {width}",
                    "give vectors of the place that is edited.",
                )

    def of(self, rows: Int[Tensor, " n"]) -> "Edit":
        """The same of these rows, in this order and as often as they are named."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        cut: dict[str, Any] = {name: of_rows(value, rows) for name, value in own.items() if isinstance(value, Tensor)}
        return replace(self, where=self.where.of(rows), **cut)


@dataclass(frozen=True, kw_only=True)
class Put(Edit):
    """Values that take the place of what is there."""

    values: Float[Tensor, "#batch #ctx d"]
    """Of each row and token; one entry serves all."""

    def change(
        self, values: Float[Tensor, "n d"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        return _entries(self.values, rows, positions).to(values).expand_as(values)


@dataclass(frozen=True, kw_only=True)
class Add(Edit):
    """Something added to what is there."""

    directions: Float[Tensor, "#batch #ctx d"]
    """Of each row and token; one entry serves all."""

    by: Float[Tensor, "#batch #ctx"]
    """How many times."""

    def change(
        self, values: Float[Tensor, "n d"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        by = _entries(self.by, rows, positions).to(values)
        return values + by[:, None] * _entries(self.directions, rows, positions).to(values)


@dataclass(frozen=True, kw_only=True)
class Through(Edit):
    """What a function makes of each value, such as the reconstruction of it."""

    function: Callable[[Tensor], Tensor]
    """`[n, d]` values in, `[n, d]` out."""

    def change(
        self, values: Float[Tensor, "n d"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        return self.function(values)


@dataclass(frozen=True, kw_only=True)
class OfLatent(Edit):
    """Another activation of one latent in each row, all else kept, the dictionary's error too: what is added to a value
    is the latent's direction, times how much its activation changes."""

    latents: Latents
    """Whose activation."""

    number: Int[Tensor, " #batch"]
    """Which latent of it, in each row."""

    to: Float[Tensor, "#batch #ctx"]
    """The activation that it gets, or with `times` what it is multiplied by."""

    times: bool = False
    """Whether `to` is a factor."""

    def change(
        self, values: Float[Tensor, "n d"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        return values + self.added(self.latents.activations(values, self.numbers(rows)), rows, positions)

    def numbers(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The latent at each of these rows."""
        return _entries(self.number, rows)

    def added(
        self, old: Float[Tensor, " n"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, "n d"]:
        """What is added to values at these rows and positions at which the latent's activation is `old`."""
        to = _entries(self.to, rows, positions).to(old)
        more = (to - 1) * old if self.times else to - old
        return more[:, None] * self.latents.rows(self.numbers(rows), self.hook).to(old)


def _entries(part: Tensor, rows: Tensor, positions: Tensor | None = None) -> Tensor:
    """The entries of rows, and of positions; a dimension of one entry serves all."""
    part = part.to(rows.device)
    rows = rows if len(part) > 1 else torch.zeros_like(rows)
    if positions is None:
        return part[rows]
    return part[rows, positions if part.shape[1] > 1 else torch.zeros_like(positions)]
