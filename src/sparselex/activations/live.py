"""The one loop of model over corpus: harvest, training, index and evaluation all read activations through it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.masks import within_norm
from sparselex.activations.source import Batch, Told, check_finite
from sparselex.base.errors import UserError
from sparselex.base.memory import free_memory
from sparselex.base.sites import Hook, Sites
from sparselex.lm.subject import Place, Readable
from sparselex.text.rows import TokenRows, positions_in
from sparselex.text.splits import Split

_MEDIAN_TOKENS = 2048
"""Tokens read for the median norm: its error of a few per cent is nothing to a cut at ten medians, and each run pays
for them."""


_MOST_ROWS = 32
"""Rows in a forward pass at most: more are no faster."""

_PASS_BYTES = 2**30
"""Memory that a forward pass may have in use."""


def rows_at_once(model: Readable, n_ctx: int, *, blocks: int = 1) -> int:
    """Rows in a forward pass where nobody says how many: those that a gibibyte holds, or a quarter of what memory is
    free where that is less; 32 at most. For gradients what `blocks` blocks computed is held at a time."""
    free = free_memory() if model.device.type == "cpu" else None
    room = _PASS_BYTES if free is None else min(_PASS_BYTES, free // 4)
    return max(1, min(_MOST_ROWS, room // (model.bytes_per_token * n_ctx * blocks)))


class Reader:
    """Activations at some sites over the rows of a corpus, those of several hooks side by side, masked tokens left out;
    where the sites have a target, its values beside them.

    The median norm of each site is measured once, over the first rows of the training split and without the tokens that
    are left out, so that what counts as an outlier does not depend on the batch. `n_outliers` counts the tokens left
    out for their norm so far. Nothing is read before it is asked for. Without `batch_rows` a forward pass takes as many
    rows as there is memory for.
    """

    def __init__(self, model: Readable, corpus: TokenRows, sites: Sites, *, batch_rows: int | None = None):
        self.model, self.corpus, self.sites = model, corpus, sites
        self.batch_rows = batch_rows or rows_at_once(model, corpus.n_ctx)
        self.n_outliers = 0
        self._seen: dict[bytes, Batch] = {}
        self._told: Told | None = None

    @cached_property
    def d_in(self) -> int:
        """Width of what is read."""
        return sum(map(self.model.width, self.sites.hooks))

    @cached_property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return sum(map(self.model.width, self.sites.target)) if self.sites.target else None

    @cached_property
    def places(self) -> list[Place]:
        """The single sites of what is read, and their columns in it."""
        return self.model.places(self.sites.hooks)

    @cached_property
    def written(self) -> list[Place]:
        """The single sites of what is reconstructed, and their columns in it."""
        return self.model.places(self.sites.written)

    @cached_property
    def median_norms(self) -> Float[Tensor, " n_sites"]:
        """Median norm of each site, the target's after those that are read; the model runs on some rows for it. Raises
        `UserError` if none of their tokens is finite."""
        rows = self.corpus.row_ranges["train"] or range(self.corpus.n_rows)
        stop = min(rows.start + -(-_MEDIAN_TOKENS // self.corpus.n_ctx), rows.stop)
        for start in range(rows.start, stop, self.batch_rows):
            part = np.arange(start, min(start + self.batch_rows, rows.stop))
            # A pass in corpus order begins with these very batches: they are kept until they are asked for.
            self._seen[part.tobytes()] = self._text(part)
        norms = torch.cat([self._norms(batch) for batch in self._seen.values()])
        # A NaN among them is refused with its place when its token is read.
        norms = norms[torch.isfinite(norms).all(-1)]
        if not len(norms):
            raise UserError(
                f"None of the first activations of {' and '.join(self._hooks)} is finite.",
                "a model that gives numbers",
                "check its weights and precision, and that the text has tokens.",
            )
        medians = norms.median(dim=0).values
        if self.sites.mask.norm_outlier:  # once more without the outliers, which pull it up where there are many
            near = torch.from_numpy(within_norm(norms, medians, self.sites.mask))
            medians = norms[near].median(dim=0).values
        return medians

    def __getstate__(self) -> dict[str, Any]:
        # For another process, which reads what it needs and tells its own.
        return self.__dict__ | {"_seen": {}, "_told": None}

    def tell(self, told: Told | None) -> None:
        """Call `told` after every forward pass of `read` with the tokens that it gave."""
        self._told = told

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """Activations of all text tokens in `rows`, in the order given. NaN and infinity are for the caller to
        refuse."""
        parts = []
        for start in range(0, len(rows), self.batch_rows):
            parts.append(self._read(rows[start : start + self.batch_rows]))
            if self._told:
                self._told(len(parts[-1].positions))
        if not parts:
            none = None if self.d_out is None else torch.empty(0, self.d_out)
            return Batch(torch.empty(0, self.d_in), np.empty(0, dtype=np.int64), none)
        return Batch.join(parts)

    def batches(self, splits: Sequence[Split], *, most_rows: int | None = None) -> Iterator[Batch]:
        """All text tokens of these splits in corpus order, `batch_rows` rows at a time.

        With `most_rows`, of each split only that many rows, spread evenly over it. Raises `UserError` for NaN and
        infinity.
        """
        for split in splits:
            yield from self.checked(spread(self.corpus.row_ranges[split], most_rows), split)

    def checked(self, rows: NDArray[np.int64], split: Split) -> Iterator[Batch]:
        """All text tokens in `rows` of one split, `batch_rows` rows at a time. Raises `UserError` for NaN and
        infinity."""
        for start in range(0, len(rows), self.batch_rows):
            batch = self._read(rows[start : start + self.batch_rows])
            check_finite(batch, f"What the model gives at {'+'.join(self.sites.hooks)} in the {split} split")
            yield batch

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of all text tokens in `rows`, norm outliers among them."""
        return self._positions(rows, np.flatnonzero(self.corpus.text_mask(rows)))

    def tokens(self, rows: NDArray[np.int64]) -> Tensor:
        """`[n_rows, n_ctx]` token ids for the model."""
        return torch.from_numpy(np.asarray(self.corpus.tokens[rows]).astype(np.int64))

    def keeps(self, batch: Batch) -> NDArray[np.bool_]:
        """`[n]`, False for the tokens whose norm is far from all others."""
        return within_norm(self._norms(batch), self.median_norms, self.sites.mask)

    def values(self, rows: NDArray[np.int64]) -> Batch:
        """Activations at every position of `rows`, masked or not."""
        return self._batch(rows, positions_in(rows, self.corpus.n_ctx), None)

    @property
    def _hooks(self) -> list[Hook]:
        return [*self.sites.hooks, *self.sites.target]

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        medians = self.median_norms  # before the rows are read: measuring it may have read them
        batch = self._text(rows)
        keep = within_norm(self._norms(batch), medians, self.sites.mask)
        if keep.all():
            return batch
        self.n_outliers += int((~keep).sum())
        return batch.at(keep)

    def _text(self, rows: NDArray[np.int64]) -> Batch:
        if (seen := self._seen.pop(rows.tobytes(), None)) is not None:
            return seen
        places = np.flatnonzero(self.corpus.text_mask(rows))
        return self._batch(rows, self._positions(rows, places), places)

    def _batch(self, rows: NDArray[np.int64], positions: NDArray[np.int64], places: NDArray[np.int64] | None) -> Batch:
        """One pass over `rows`: the values at `places` among its tokens, or at all of them."""
        found = self.model.read(self.tokens(rows), self._hooks)
        target = _side_by_side(found, self.sites.target, places) if self.sites.target else None
        return Batch(_side_by_side(found, self.sites.hooks, places), positions, target)

    def _positions(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        n_ctx = self.corpus.n_ctx
        return rows[places // n_ctx] * n_ctx + places % n_ctx

    def _norms(self, batch: Batch) -> Tensor:
        """`[n, n_sites]`."""
        parts = [(batch.x, self.places)]
        if batch.target is not None:
            parts.append((batch.target, self.written))
        return torch.stack([x[:, place.columns].norm(dim=-1) for x, places in parts for place in places], dim=-1)


def _side_by_side(
    found: Mapping[str, Tensor], hooks: Sequence[Hook], places: NDArray[np.int64] | None
) -> Float[Tensor, "n d"]:
    """Values of these hooks at `places` among the tokens, in float32 on the CPU."""
    values = [found[hook].flatten(0, 1) for hook in hooks]
    if places is not None and len(places) < len(values[0]):
        chosen = torch.from_numpy(places).to(values[0].device)
        values = [value.index_select(0, chosen) for value in values]
    whole = values[0] if len(values) == 1 else torch.cat(values, dim=-1)
    return whole.to("cpu", torch.float32)


def spread(rows: range, most: int | None) -> NDArray[np.int64]:
    """At most `most` of `rows`, ascending, at even distances."""
    if most is None or most >= len(rows):
        return np.arange(rows.start, rows.stop, dtype=np.int64)
    return np.unique(np.linspace(rows.start, rows.stop - 1, most).round().astype(np.int64))


class LiveUnits:
    """Rows of a corpus as `Units`, read from the model when they are needed."""

    def __init__(self, reader: Reader, splits: Sequence[Split]):
        self._reader = reader
        self._rows = np.concatenate([np.array(reader.corpus.row_ranges[split]) for split in splits]).astype(np.int64)
        self.n_units, self.tokens_per_unit = len(self._rows), reader.corpus.n_ctx

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self._reader.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return self._reader.d_out

    def tell(self, told: Told | None) -> None:
        """Call `told` after every forward pass with the tokens that it gave."""
        self._reader.tell(told)

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Activations of the chosen rows."""
        return self._reader.read(self._rows[units])

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the text in the chosen rows; norm outliers among it are known only once the model has been
        read."""
        return self._reader.positions(self._rows[units])
