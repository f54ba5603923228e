"""The one loop of model over corpus: harvest, training, index and evaluation all read activations through it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.masks import within_norm
from sparselex.activations.source import Batch, check_finite
from sparselex.base.errors import UserError
from sparselex.base.sites import Mask
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import SubjectModel
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import Split

_MEDIAN_TOKENS = 2048
"""Tokens read for the median norm: its error of a few per cent is nothing to a cut at ten medians, and each run pays
for them."""


class Reader:
    """Activations of one hook over the rows of a corpus, masked tokens left out; with `target` those of a second hook
    beside them.

    The median norm of each site is measured once, over the first rows of the training split and without the tokens that
    are left out, so that what counts as an outlier does not depend on the batch. `n_outliers` counts the tokens left
    out for their norm so far.
    """

    def __init__(
        self,
        model: SubjectModel | ModelPair,
        corpus: TokenCorpus,
        hook: str,
        mask: Mask,
        *,
        batch_rows: int = 32,
        target: str | None = None,
    ):
        self.model, self.corpus, self.hook, self.mask, self.batch_rows = model, corpus, hook, mask, batch_rows
        self.target, self.d_in = target, model.width(hook)
        self.d_out = None if target is None else model.width(target)
        self.n_outliers = 0
        self._columns = [
            slice(start + place.columns.start, start + place.columns.stop)
            for hook, start in zip(self.hooks, (0, self.d_in), strict=False)
            for place in model.places(hook)
        ]
        """Each site's columns, the target's after the input's."""
        self._seen: dict[bytes, Batch] = {}
        self.median_norms = self._median_norms()

    @property
    def hooks(self) -> list[str]:
        """What is read: the hook, and the target's where there is one."""
        return [self.hook] if self.target is None else [self.hook, self.target]

    def __getstate__(self) -> dict[str, Any]:
        # For another process: the corpus is opened there anew and not copied with all its tokens.
        return self.__dict__ | {"corpus": self.corpus.path, "_seen": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, corpus=TokenCorpus(state["corpus"]))

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """Activations of all text tokens in `rows`, in the order given. NaN and infinity are for the caller to
        refuse."""
        parts = [self._read(rows[start : start + self.batch_rows]) for start in range(0, len(rows), self.batch_rows)]
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
            rows = spread(self.corpus.row_ranges[split], most_rows)
            for start in range(0, len(rows), self.batch_rows):
                batch = self._read(rows[start : start + self.batch_rows])
                check_finite(batch, f"What the model gives at {self.hook} in the {split} split")
                yield batch

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of all text tokens in `rows`, norm outliers among them."""
        return self._positions(rows, np.flatnonzero(self.corpus.text_mask(rows)))

    def tokens(self, rows: NDArray[np.int64]) -> Tensor:
        """`[n_rows, n_ctx]` token ids for the model."""
        return torch.from_numpy(np.asarray(self.corpus.tokens[rows]).astype(np.int64))

    def keeps(self, batch: Batch) -> NDArray[np.bool_]:
        """`[n]`, False for the tokens whose norm is far from all others."""
        return within_norm(self._norms(batch), self.median_norms, self.mask)

    def values(self, rows: NDArray[np.int64]) -> Batch:
        """Activations at every position of `rows`, masked or not."""
        found = self.model.read(self.tokens(rows), self.hooks)
        flat = [found[hook].flatten(0, 1).to("cpu", torch.float32) for hook in self.hooks]
        n_ctx = self.corpus.n_ctx
        positions = (rows[:, None] * n_ctx + np.arange(n_ctx)).reshape(-1)
        return Batch(flat[0], positions, flat[1] if len(flat) > 1 else None)

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        batch = self._text(rows)
        keep = self.keeps(batch)
        if keep.all():
            return batch
        self.n_outliers += int((~keep).sum())
        return batch.at(keep)

    def _text(self, rows: NDArray[np.int64]) -> Batch:
        if (seen := self._seen.pop(rows.tobytes(), None)) is not None:
            return seen
        found = self.model.read(self.tokens(rows), self.hooks)
        places = np.flatnonzero(self.corpus.text_mask(rows))
        chosen = []
        for hook in self.hooks:
            x = found[hook].flatten(0, 1)
            if len(places) < len(x):
                x = x.index_select(0, torch.from_numpy(places).to(x.device))
            chosen.append(x.to("cpu", torch.float32))
        return Batch(chosen[0], self._positions(rows, places), chosen[1] if len(chosen) > 1 else None)

    def _positions(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        n_ctx = self.corpus.n_ctx
        return rows[places // n_ctx] * n_ctx + places % n_ctx

    def _norms(self, batch: Batch) -> Tensor:
        """`[n, n_sites]`."""
        whole = batch.x if batch.target is None else torch.cat([batch.x, batch.target], dim=-1)
        return torch.stack([whole[:, columns].norm(dim=-1) for columns in self._columns], dim=-1)

    def _median_norms(self) -> Tensor:
        """`[n_sites]`."""
        rows = self.corpus.row_ranges["train"] or range(self.corpus.n_rows)
        stop = min(rows.start + -(-_MEDIAN_TOKENS // self.corpus.n_ctx), rows.stop)
        for start in range(rows.start, stop, self.batch_rows):
            part = np.arange(start, min(start + self.batch_rows, rows.stop))
            # A pass in corpus order begins with these very batches: they are kept until they are asked for.
            self._seen[part.tobytes()] = self._text(part)
        norms = torch.cat([self._norms(batch) for batch in self._seen.values()])
        norms = norms[
            torch.isfinite(norms).all(-1)
        ]  # a NaN among them is refused with its place when its token is read
        if not len(norms):
            raise UserError(
                f"None of the first activations of {' and '.join(self.hooks)} is finite.",
                "a model that gives numbers",
                "check its weights and precision, and that the text has tokens.",
            )
        medians = norms.median(dim=0).values
        if self.mask.norm_outlier:  # once more without the outliers, which pull it up where a model has many of them
            medians = norms[torch.from_numpy(within_norm(norms, medians, self.mask))].median(dim=0).values
        return medians


def spread(rows: range, most: int | None) -> NDArray[np.int64]:
    """At most `most` of `rows`, ascending, at even distances."""
    if most is None or most >= len(rows):
        return np.arange(rows.start, rows.stop, dtype=np.int64)
    return np.unique(np.linspace(rows.start, rows.stop - 1, most).round().astype(np.int64))


class LiveRows:
    """Rows of a corpus as units for shuffling, read from the model when they are needed."""

    def __init__(self, reader: Reader, splits: Sequence[Split]):
        self._reader = reader
        self._rows = np.concatenate([np.array(reader.corpus.row_ranges[split]) for split in splits]).astype(np.int64)
        self.d_in, self.d_out = reader.d_in, reader.d_out
        self.n_units, self.tokens_per_unit = len(self._rows), reader.corpus.n_ctx

    def read(self, units: NDArray[np.int64]) -> Batch:
        """Activations of the chosen rows."""
        return self._reader.read(self._rows[units])

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the text in the chosen rows; norm outliers among it are known only once the model has been
        read."""
        return self._reader.positions(self._rows[units])
