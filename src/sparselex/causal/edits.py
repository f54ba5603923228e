"""Edits: what is changed of the values at a site, on which tokens of which rows. Data, one small vocabulary for all.

Every function here gives a tuple of edits, so that several are put together by `+`. What has a first dimension of rows
has one entry for each, so that each row of a batch can have a change of its own (another latent, strength, position),
or a single entry that serves all.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.latents import Latents
from sparselex.lm.subject import Edit as Change

Edits = tuple["Edit", ...]
"""Several edits, made in this order."""

Amount = float | Tensor
"""A number for all; `[batch]`, one for each row; or `[batch, ctx]`, one for each token of each row."""


@dataclass(frozen=True)
class Where:
    """Tokens of each row. Positions count from 0, the row's first token (BOS, where there is one)."""

    positions: Int[Tensor, "#batch n"] | None = None
    """These; -1 stands for none. None for all from `since` on."""

    since: Int[Tensor, " #batch"] | None = None
    """The first of all others; None for all of them."""

    mask: Bool[Tensor, "#batch #ctx"] | None = None
    """Tokens that may be changed at all; None for every one, those that are generated too."""

    def of(self, rows: Int[Tensor, " n"]) -> "Where":
        """The same of these rows."""
        return Where(*(None if part is None else _of(part, rows) for part in (self.positions, self.since, self.mask)))

    def within(self, mask: Bool[Tensor, "#batch #ctx"]) -> "Where":
        """Those of them that are in a mask too."""
        return replace(self, mask=mask if self.mask is None else self.mask & mask)

    def tokens(self, n_rows: int, start: int | Tensor, n: int) -> Bool[Tensor, "batch n_positions"]:
        """Which of `n` positions from `start` on are changed; `start` may be one of each row, and below 0 where rows
        are padded in front. Raises `UserError` where rows or tokens are not as many as those it was made for."""
        for part in (self.positions, self.since, self.mask):
            if part is not None and len(part) not in (1, n_rows):
                raise UserError(
                    f"An edit of {len(part)} rows was put on {n_rows}.",
                    "one entry for each row, or one for all",
                    "give as many positions as there are rows.",
                )
        places = torch.as_tensor(start).cpu().reshape(-1, 1) + torch.arange(n)
        found = places >= 0
        if self.positions is not None:
            found = found & (self.positions.cpu()[:, :, None] == places[:, None]).any(1)
        elif self.since is not None:
            found = found & (places >= self.since.cpu()[:, None])
        if self.mask is not None:
            if places.numel() and int(places.max()) >= self.mask.shape[1]:
                said = f"A mask of {self.mask.shape[1]} tokens was put on rows of {int(places.max()) + 1}."
                raise UserError(said, "one entry for each token", "give a mask of the rows that are run.")
            mask = self.mask.cpu().expand(max(len(self.mask), len(places)), -1)
            found = found & mask.gather(1, places.clamp_min(0).expand(len(mask), -1))
        return found.expand(n_rows, -1)

    def first(self, n_rows: int, n_ctx: int) -> Int[Tensor, " batch"]:
        """The first token of each row that is changed; `n_ctx` where none is."""
        found = self.tokens(n_rows, 0, n_ctx)
        return torch.where(found.any(1), found.int().argmax(1), n_ctx)


EVERYWHERE = Where()
"""All tokens of all rows."""


def at(*positions: int | Tensor) -> Where:
    """These positions, each the same for all rows (a number) or one of each row (`[batch]`)."""
    for position in positions:
        _check_position(position)
    columns = [torch.as_tensor(position).reshape(-1) for position in positions]
    n_rows = max(len(column) for column in columns)
    return Where(positions=torch.stack([column.expand(n_rows) for column in columns], dim=1))


def since(position: int | Tensor) -> Where:
    """From this position on, the same for all rows (a number) or one of each row (`[batch]`)."""
    _check_position(position)
    return Where(since=torch.as_tensor(position).reshape(-1))


def _check_position(position: int | Tensor) -> None:
    if not isinstance(position, Tensor) and position < 0:
        raise UserError(
            f"Position {position} was named.",
            "a position from 0 on",
            "count from the first token; the last one of a row is the row's length less 1.",
        )


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

    def check(self, n_rows: int, width: int) -> None:
        """Raise `UserError` if something in it is of another number of rows, or of another width."""
        for field in fields(self):
            value = getattr(self, field.name)
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
        cut: dict[str, Any] = {name: _of(value, rows) for name, value in own.items() if isinstance(value, Tensor)}
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
        number, to = _entries(self.number, rows), _entries(self.to, rows, positions).to(values)
        old = self.latents.activations(values, number)
        more = (to - 1) * old if self.times else to - old
        return values + more[:, None] * self.latents.rows(number, self.hook).to(values)


def splice(latents: Latents, where: Where = EVERYWHERE, *, error: bool = False) -> Edits:
    """The reconstruction in the place of each value; with its `error` added, which changes nothing by itself.

    Raises `UserError` for a dictionary that reconstructs something else than it reads: what it would put in its place
    are values of another site, and `causal.edits.put` does that.
    """
    latents.check_reads_what_it_writes("spliced")
    if error:
        return (Through(hook=latents.hook, where=where, function=lambda x: x),)
    return (Through(hook=latents.hook, where=where, function=latents.dictionary),)


def put(hook: str, values: float | Tensor, where: Where = EVERYWHERE) -> Edits:
    """Values in the place of what is there: a number for all (0 ablates the site to zero), a vector `[d]` (its mean
    ablates it to the mean), one for each row `[batch, d]`, or values of another run `[batch, ctx, d]` (a patch, or what
    resampling drew)."""
    whole = torch.as_tensor(values, dtype=None if isinstance(values, Tensor) else torch.float32)
    return (Put(hook=Hook(hook), where=where, values=_vectors(whole)),)


def add(hook: str, direction: Tensor, by: Amount = 1.0, where: Where = EVERYWHERE) -> Edits:
    """A direction `[d]`, one for each row `[batch, d]`, or one for each token `[batch, ctx, d]`, times `by`."""
    return (Add(hook=Hook(hook), where=where, directions=_vectors(direction), by=_amounts(by)),)


def ablate(
    latents: Latents, number: int | Tensor, where: Where = EVERYWHERE, *, to: Amount = 0.0, known: Tensor | None = None
) -> Edits:
    """A latent's activation set to zero or to `to` (its mean, say). `number` is a latent, or one for each row.

    Of the undisturbed model the activation may be `known`, `[batch, ctx]`: nothing is encoded then, and latents that
    read and write different sites, or several, can be ablated too. Several latents ablated one after another without
    that are each read after the edits before it.
    """
    return _of_latent(latents, number, where, to, known, times=False)


def clamp(
    latents: Latents, number: int | Tensor, to: Amount, where: Where = EVERYWHERE, *, known: Tensor | None = None
) -> Edits:
    """A latent's activation set to `to` whether it is active or not; `known` as in `ablate`."""
    return _of_latent(latents, number, where, to, known, times=False)


def scale(
    latents: Latents, number: int | Tensor, by: Amount, where: Where = EVERYWHERE, *, known: Tensor | None = None
) -> Edits:
    """A latent's activation multiplied by `by`; `known` as in `ablate`."""
    return _of_latent(latents, number, where, by, known, times=True)


def steer(latents: Latents, number: int | Tensor, by: Amount, where: Where = EVERYWHERE) -> Edits:
    """A latent's direction added wherever it writes, as by `by` more of its activation."""
    return _along(latents, latents.checked(number), _amounts(by), where)


def bound(edits: Sequence[Edit], start: int | Tensor = 0) -> dict[str, Change]:
    """What a model takes, in a pass whose first position is `start` (or that of each row): by hook, the edits there in
    their order, computed in float32."""
    by_hook: dict[str, list[Edit]] = {}
    for edit in edits:
        by_hook.setdefault(edit.hook, []).append(edit)
    return {hook: _all_at(there, start) for hook, there in by_hook.items()}


def _all_at(edits: Sequence[Edit], start: int | Tensor) -> Change:
    def change(value: Tensor) -> Tensor:
        new, (n_rows, n) = value.clone(), value.shape[:2]
        first = torch.as_tensor(start).to(value.device).expand(n_rows)
        for edit in edits:
            edit.check(n_rows, value.shape[-1])
            rows, places = edit.where.tokens(n_rows, start, n).to(value.device).nonzero(as_tuple=True)
            made = edit.change(new[rows, places].float(), rows, places + first[rows]).to(value)
            # A norm that squares them would make something of what is no number any more.
            if not bool(torch.isfinite(made.detach().square().sum())):
                raise UserError(
                    f"An edit at {edit.hook} leaves values too large for {value.dtype}, or none.",
                    "values at which the model still computes: whose squares are finite numbers",
                    "edit by less.",
                )
            new[rows, places] = made
        return new

    return change


def _of_latent(
    latents: Latents, number: int | Tensor, where: Where, to: Amount, known: Tensor | None, *, times: bool
) -> Edits:
    numbers, amounts = latents.checked(number), _amounts(to)
    if known is not None:
        if known.ndim != 2:
            raise UserError(
                f"Known activations of the shape {[*known.shape]} were given.",
                "[batch, ctx], one for each token of each row",
                "give `acts[None]` where there is one row.",
            )
        old = known.float()
        return _along(latents, numbers, (amounts - 1) * old if times else amounts - old, where)
    latents.check_reads_what_it_writes("edited by its own activation, which is not known,")
    return (OfLatent(hook=latents.hook, where=where, latents=latents, number=numbers, to=amounts, times=times),)


def _along(latents: Latents, numbers: Tensor, by: Tensor, where: Where) -> Edits:
    rows = {hook: latents.rows(numbers, hook)[:, None] for hook in latents.written}
    return tuple(Add(hook=hook, where=where, directions=row, by=by) for hook, row in rows.items())


def _vectors(values: Tensor) -> Float[Tensor, "#batch #ctx d"]:
    match values.ndim:
        case 0 | 1:
            return values.reshape(1, 1, -1)
        case 2:
            return values[:, None]
    return values


def _amounts(amount: Amount) -> Float[Tensor, "#batch #ctx"]:
    whole = torch.as_tensor(amount, dtype=torch.float32)
    return whole.reshape(-1, 1) if whole.ndim < 2 else whole


def _of(part: Tensor, rows: Tensor) -> Tensor:
    return part if len(part) == 1 else part[rows.to(part.device)]


def _entries(part: Tensor, rows: Tensor, positions: Tensor | None = None) -> Tensor:
    """The entries of rows, and of positions; a dimension of one entry serves all."""
    part = part.to(rows.device)
    rows = rows if len(part) > 1 else torch.zeros_like(rows)
    if positions is None:
        return part[rows]
    return part[rows, positions if part.shape[1] > 1 else torch.zeros_like(positions)]
