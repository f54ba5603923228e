"""Where edits are made: on which tokens of which rows. What has a first dimension of rows has one entry for each, or a
single entry that serves all."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sparselex.base.errors import UserError

_NONE = -1
"""A position that stands for none."""


@dataclass(frozen=True)
class Where:
    """Tokens of each row. Positions count from 0, the row's first token (BOS, where there is one)."""

    positions: Int[Tensor, "#batch n"] | None = None
    """These; -1 stands for none. None for all from `since` on."""

    since: Int[Tensor, " #batch"] | None = None
    """The first of all others, the length of a row for none; None for all of them."""

    mask: Bool[Tensor, "#batch #ctx"] | None = None
    """Tokens that may be changed at all; None for every one, those that are generated too."""

    @classmethod
    def of_mask(cls, mask: Bool[Tensor, "batch ctx"]) -> "Where":
        """The tokens of a mask, and none behind it in rows that become longer."""
        return cls(positions=torch.where(mask, torch.arange(mask.shape[1]).to(mask.device), _NONE))

    @property
    def n_rows(self) -> int:
        """How many rows it was made for; 1 where it serves all."""
        return max((len(part) for part in (self.positions, self.since, self.mask) if part is not None), default=1)

    def of(self, rows: Int[Tensor, " n"]) -> "Where":
        """The same of these rows."""
        return Where(
            *(None if part is None else of_rows(part, rows) for part in (self.positions, self.since, self.mask))
        )

    def within(self, mask: Bool[Tensor, "#batch #ctx"]) -> "Where":
        """Those of them that are in a mask too."""
        return replace(self, mask=mask if self.mask is None else self.mask & mask)

    def tokens(
        self, n_rows: int, start: int | Tensor, n: int, until: int | None = None
    ) -> Bool[Tensor, "batch n_positions"]:
        """Which of `n` positions from `start` on are changed; `start` may be one of each row, and below 0 where rows
        are padded in front. `until` is how many tokens the rows have once later passes have read theirs; None where
        this pass is all there is.

        Raises `UserError` where rows or tokens are not as many as those it was made for, and for a position that no
        pass computes.
        """
        self._check_rows(n_rows)
        places = torch.as_tensor(start).cpu().reshape(-1, 1) + torch.arange(n)
        self._check_positions(places, until)
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

    def _check_rows(self, n_rows: int) -> None:
        for part in (self.positions, self.since, self.mask):
            if part is not None and len(part) not in (1, n_rows):
                raise UserError(
                    f"An edit of {len(part)} rows was put on {n_rows}.",
                    "one entry for each row, or one for all",
                    "give as many positions as there are rows.",
                )

    def _check_positions(self, places: Int[Tensor, "#batch n"], until: int | None) -> None:
        if not places.numel():
            return
        first, stop = max(0, int(places.min())) if until is None else 0, until or int(places.max()) + 1
        named = self.positions if self.positions is not None else self.since
        if named is None:
            return
        least, most = (first, stop - 1) if self.positions is not None else (0, stop)
        wrong = named[((named < least) & (named != _NONE)) | (named > most)]
        if wrong.numel():
            where = "at" if self.positions is not None else "from"
            raise UserError(
                f"Rows of {stop} tokens were to be edited {where} position {int(wrong[0])}"
                + (f", and what is run of them begins at {first}." if first else "."),
                f"a position from {least} to {most}",
                "count from 0, the row's first token (BOS, where there is one).",
            )

    def first(self, n_rows: int, n_ctx: int) -> Int[Tensor, " batch"]:
        """The first token of each row that is changed; `n_ctx` where none is."""
        found = self.tokens(n_rows, 0, n_ctx)
        return torch.where(found.any(1), found.int().argmax(1), n_ctx)


EVERYWHERE = Where()
"""All tokens of all rows."""


def at(*positions: int | Tensor) -> Where:
    """These positions, each the same for all rows (a number) or one of each row (`[batch]`, -1 for none). Raises
    `UserError` for others below 0, and for none at all."""
    if not positions:
        raise UserError("No position was named.", "one at least", "leave the edit out, or name a position.")
    for position in positions:
        _check_position(position, _NONE)
    columns = [torch.as_tensor(position).reshape(-1) for position in positions]
    n_rows = max(len(column) for column in columns)
    if wrong := [len(column) for column in columns if len(column) not in (1, n_rows)]:
        raise UserError(f"Positions of {wrong[0]} and of {n_rows} rows were given.", "as many of each", "give as many.")
    return Where(positions=torch.stack([column.expand(n_rows) for column in columns], dim=1))


def since(position: int | Tensor) -> Where:
    """From this position on, the same for all rows (a number) or one of each row (`[batch]`); a row's length stands for
    none of it. Raises `UserError` for one below 0."""
    _check_position(position, 0)
    return Where(since=torch.as_tensor(position).reshape(-1))


def of_rows(part: Tensor, rows: Int[Tensor, " n"]) -> Tensor:
    """The entries of these rows; a single entry serves all."""
    return part if len(part) == 1 else part[rows.to(part.device)]


def _check_position(position: int | Tensor, least: int) -> None:
    """Raise `UserError` for a number below 0, and for one of a row's own below `least`."""
    found = torch.as_tensor(position)
    if found.is_floating_point() or found.dtype is torch.bool:
        raise UserError(
            f"Positions of {found.dtype} were given.",
            "whole numbers",
            "give numbers of tokens; a mask goes to `within`.",
        )
    wrong = found[found < (least if isinstance(position, Tensor) else 0)]
    if wrong.numel():
        raise UserError(
            f"Position {int(wrong.flatten()[0])} was named.",
            "a position from 0 on",
            "count from the first token; the last one of a row is the row's length less 1.",
        )
