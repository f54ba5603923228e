"""Whole rows of a corpus with the passes of the model over them: what the finish of a training reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.live import Reader, rows_at_once
from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.causal.spliced import Places, PlainRows, streams_behind
from sparselex.dictionaries.ranks import ALONE, Ranks


class LiveBatch(NamedTuple):
    """Activations of some rows, and the rows themselves for passes of the model under other values."""

    batch: Batch
    """The tokens that are reconstructed, row by row: text, but for norm outliers."""

    rows: Sequence[PlainRows]
    """The rows that they stand in."""

    n_tokens: int
    """Tokens that all processes that share a batch read."""

    n_predicted: int
    """Predictions that count in all their rows: those of text."""


class LiveRows:
    """Batches of whole rows of the training split, epoch after epoch, each in an order of its own, with no end.

    Processes that share a batch read each its own rows of it; those that share the latents read the same. `batch_size`
    is met nearly: as many rows as have that many tokens on average.
    """

    def __init__(self, reader: Reader, *, batch_size: int, seed: int, ranks: Ranks = ALONE):
        """Reads nothing yet. Raises `UserError` for a training split without rows."""
        self.reader, self.seed, self._ranks = reader, seed, ranks
        split = reader.corpus.row_ranges["train"]
        n_text = int(reader.corpus.text_mask(split).sum())
        if not n_text:
            raise UserError("The training split has no text.", "rows to train on", "read more text.")
        self._rows = np.asarray(split, dtype=np.int64)
        self.n_rows = min(len(split), max(ranks.n_data, round(batch_size * len(split) / n_text)))
        self._epoch = self._batch = 0
        # Gradients need all that lies behind the sites in memory, at worst every block.
        self._at_once = rows_at_once(reader.model, reader.corpus.n_ctx, blocks=reader.model.n_layers)

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self.reader.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return self.reader.d_out

    @property
    def places(self) -> Places:
        """The sites that reconstructions are put at."""
        return self.reader.written

    @property
    def start(self) -> dict[str, Any]:
        """The position of the first batch."""
        return {"epoch": 0, "batch": 0}

    def state(self) -> dict[str, Any]:
        """The position, as JSON values."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a position."""
        self._epoch, self._batch = state["epoch"], state["batch"]

    def check(self, *, downstream: bool = False) -> None:
        """Raise `UserError` if one of the sites cannot be edited in this model, or where `downstream` has no residual
        stream behind it, before anything is trained."""
        for place in self.places:
            _, rows, _ = self.read(self._rows[:1])
            there = torch.zeros(int(rows.counted.sum()), place.width, requires_grad=True)
            rows.divergence([place._replace(columns=slice(0, place.width))], there)
            if downstream:
                streams_behind(place.model, [place.hook])

    def next_batch(self) -> LiveBatch:
        """The next rows, read by the model."""
        order = generator(self.seed, "finish", self._epoch).permutation(self._rows)
        chosen = np.array_split(order, max(1, len(order) // self.n_rows))[self._batch]
        mine = np.array_split(chosen, self._ranks.n_data)[self._ranks.data]
        found = [self.read(mine[start : start + self._at_once]) for start in range(0, len(mine), self._at_once)]
        batch = Batch.join([part for part, _, _ in found])
        counts = self._ranks.over_data(torch.tensor([len(batch.positions), sum(n for _, _, n in found)]))
        self._advance(max(1, len(order) // self.n_rows))
        return LiveBatch(batch, [rows for _, rows, _ in found], int(counts[0]), int(counts[1]))

    def _advance(self, n_batches: int) -> None:
        self._batch += 1
        if self._batch == n_batches:
            self._epoch, self._batch = self._epoch + 1, 0

    def read(self, rows: NDArray[np.int64]) -> tuple[Batch, PlainRows, int]:
        """The counted tokens of some rows, the rows, and how many predictions count in them."""
        corpus, everywhere = self.reader.corpus, self.reader.values(rows)
        text = np.asarray(corpus.documents[rows]) >= 0
        counted = text & self.reader.keeps(everywhere).reshape(text.shape)
        plain = PlainRows(self.reader.tokens(rows), torch.from_numpy(counted), torch.from_numpy(text[:, 1:].copy()))
        return everywhere.at(np.flatnonzero(counted)), plain, int(text[:, 1:].sum())


def n_tokens_of(batch: Batch | LiveBatch) -> int:
    """Tokens that all processes take of a batch."""
    return batch.n_tokens if isinstance(batch, LiveBatch) else len(batch.positions)
