"""Sums over test tokens from which core figures follow: how sparse the codes are, how well they reconstruct, and what
the model loses by the reconstruction.

Kept by document in float64, because the intervals draw documents again.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.activations.source import Batch
from sparselex.base.progress import progress
from sparselex.causal.splice import Replace, divergences, logits_of, spliced_logits, to_constant, token_losses
from sparselex.evaluate.metrics import OF_PREDICTIONS, SiteSums, token_columns
from sparselex.evaluate.moments import target_of
from sparselex.evaluate.subjects import Reconstructed, Subject
from sparselex.lm.subject import Place

AT_MEAN = "at its mean"
"""Name of the null among the sums."""


class _Rows(NamedTuple):
    """Some rows of the corpus, and the documents of what is summed over them."""

    tokens: Tensor
    """`[n_rows, n_ctx]`."""

    counted: Tensor
    """`[n_rows, n_ctx]`, whether a token is reconstructed and replaced."""

    batch: Batch
    """The counted tokens' activations."""

    owner: NDArray[np.int64]
    """Place of each counted token's document among all."""

    predicted: NDArray[np.bool_]
    """`[n_rows, n_ctx - 1]`. A prediction counts where the token it predicts is text; its loss belongs to that token's
    document."""

    predicted_in: NDArray[np.int64]
    """Place of each predicted token's document among all."""


class _Undisturbed(NamedTuple):
    """What the model predicts of some rows when no dictionary is in its way, at one site."""

    logits: Tensor
    columns: dict[str, Tensor]
    """Of every token but the first of a row: its loss, and what ablations at the site do to it."""


@torch.no_grad()
def core_sums(
    reader: Reader, subjects: Mapping[str, Subject], mean: Tensor, rows: NDArray[np.int64]
) -> dict[str, list[SiteSums]]:
    """Sums by document over the given rows, for each subject and each site of its target; under `AT_MEAN` those of the
    `mean` `[width]` of the target in the site's place, which knows nothing of a token.

    A control comes behind the subject that it is a control of. Sites are spliced one at a time, from codes of the
    undisturbed model.
    """
    sums = _Sums(reader, subjects, mean, np.unique(reader.corpus.documents[rows]))
    n_ctx = reader.corpus.n_ctx
    with progress("evaluate", len(rows) * n_ctx, "tokens") as bar:
        for start in range(0, len(rows), reader.batch_rows):
            part = rows[start : start + reader.batch_rows]
            sums.add(part)
            bar.advance(len(part) * n_ctx)
    return sums.of


class _Sums:
    """Sums of several subjects over the same rows."""

    def __init__(self, reader: Reader, subjects: Mapping[str, Subject], mean: Tensor, documents: NDArray[np.int32]):
        """`documents` are those in the rows."""
        self._reader, self._subjects, self._mean = reader, subjects, mean
        self._places = reader.written
        self._documents = documents[documents >= 0]
        self._columns = token_columns()
        self.of = {name: [self._empty(place) for place in self._places] for name in (*subjects, AT_MEAN)}

    def add(self, rows: NDArray[np.int64]) -> None:
        """Add some rows of the corpus."""
        read, n = self._read(rows), len(self._documents)
        reconstructions = self._reconstructions(read.batch)
        for number, place in enumerate(self._places):
            target = target_of(read.batch)[:, place.columns]
            of_target = torch.zeros(n, target.shape[1], dtype=torch.float64)
            of_target.index_add_(0, torch.from_numpy(read.owner), target.double())
            undisturbed = _undisturbed(place, read, self._mean[place.columns])
            everywhere = self._mean.expand(len(target), -1)
            at_mean = {AT_MEAN: Reconstructed(everywhere, torch.zeros(len(target), dtype=torch.float64))}
            for name, (x_hat, l0) in (reconstructions | at_mean).items():
                into, there = self.of[name][number], x_hat[:, place.columns]
                into["x"] += of_target.numpy()
                ours = _at_mean(undisturbed) if name == AT_MEAN else _spliced(place, read, undisturbed, there)
                for column, value in ours.items():
                    of_text = value.double().cpu().numpy()[read.predicted]
                    into[column] += np.bincount(read.predicted_in, of_text, n)
                for column, value in self._of_tokens(target, there, l0).items():
                    into[column] += np.bincount(read.owner, value.numpy(), n)

    def _reconstructions(self, batch: Batch) -> dict[str, Reconstructed]:
        found: dict[str, Reconstructed] = {}
        for name, subject in self._subjects.items():
            found[name] = subject.reconstruct(batch, found)
        return found

    def _empty(self, place: Place) -> SiteSums:
        n, width = len(self._documents), place.columns.stop - place.columns.start
        found = {name: np.zeros(n) for name in ("n", *self._columns, *OF_PREDICTIONS)}
        return found | {"x": np.zeros((n, width))}

    def _read(self, rows: NDArray[np.int64]) -> _Rows:
        owners = np.asarray(self._reader.corpus.documents[rows])
        text, everywhere = owners >= 0, self._reader.values(rows)
        counted = text & self._reader.keeps(everywhere).reshape(text.shape)
        predicted = text[:, 1:]
        return _Rows(
            tokens=self._reader.tokens(rows),
            counted=torch.from_numpy(counted),
            batch=everywhere.at(np.flatnonzero(counted)),
            owner=np.searchsorted(self._documents, owners[counted]),
            predicted=predicted,
            predicted_in=np.searchsorted(self._documents, owners[:, 1:][predicted]),
        )

    def _of_tokens(self, x: Tensor, x_hat: Tensor, l0: Tensor) -> dict[str, Tensor]:
        """Columns of counted tokens, float64."""
        x, x_hat = x.double(), x_hat.double()
        found = {name: column.of(x, x_hat, l0) for name, column in self._columns.items()}
        return {"n": torch.ones(len(x), dtype=torch.float64)} | found


def _undisturbed(place: Place, rows: _Rows, level: Tensor) -> _Undisturbed:
    """The model as it is, and with the site at its mean `level` and at zero."""
    clean = logits_of(place.model, rows.tokens)
    at_mean = _with(place, rows, to_constant(level))
    columns = {
        "ce": token_losses(clean, rows.tokens),
        "ce_mean": token_losses(at_mean, rows.tokens),
        "ce_zero": token_losses(_with(place, rows, torch.zeros_like), rows.tokens),
        "kl_mean": divergences(clean, at_mean),
    }
    return _Undisturbed(clean, columns | {"n_predicted": torch.ones_like(columns["ce"])})


def _spliced(place: Place, rows: _Rows, undisturbed: _Undisturbed, x_hat: Tensor) -> dict[str, Tensor]:
    """`OF_PREDICTIONS` of every token but the first of a row, with a reconstruction in the site's place."""
    logits = _with(place, rows, lambda _: x_hat)
    ours = {"ce_spliced": token_losses(logits, rows.tokens), "kl": divergences(undisturbed.logits, logits)}
    return undisturbed.columns | ours


def _at_mean(undisturbed: _Undisturbed) -> dict[str, Tensor]:
    """The same with the site at its mean, which has been measured already."""
    columns = undisturbed.columns
    return columns | {"ce_spliced": columns["ce_mean"], "kl": columns["kl_mean"]}


def _with(place: Place, rows: _Rows, replace: Replace) -> Tensor:
    return spliced_logits(place.model, rows.tokens, place.hook, replace, rows.counted)
