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
from sparselex.causal.edits import EVERYWHERE, bound, put
from sparselex.causal.predictions import compared
from sparselex.evaluate.metrics import OF_PREDICTIONS, SiteSums, token_columns
from sparselex.evaluate.moments import target_of
from sparselex.evaluate.subjects import Reconstructed, Subject
from sparselex.lm.kept import Kept
from sparselex.lm.subject import Place
from sparselex.text.rows import positions_in

AT_MEAN = "at its mean"
"""Name of the null among the sums."""

_AT_ZERO = "at zero"


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
        kept = self._kept(rows)
        read, n = self._read(rows, kept), len(self._documents)
        reconstructions = self._reconstructions(read.batch)
        for number, place in enumerate(self._places):
            target = target_of(read.batch)[:, place.columns]
            of_target = torch.zeros(n, target.shape[1], dtype=torch.float64)
            of_target.index_add_(0, torch.from_numpy(read.owner), target.double())
            at_place = kept or place.model.keep(read.tokens, place.hook, positions=False)
            predictions = _predictions(place, at_place, read, self._mean[place.columns], reconstructions)
            everywhere = self._mean.expand(len(target), -1)
            at_mean = {AT_MEAN: Reconstructed(everywhere, torch.zeros(len(target), dtype=torch.float64))}
            for name, (x_hat, l0) in (reconstructions | at_mean).items():
                into, there = self.of[name][number], x_hat[:, place.columns]
                into["x"] += of_target.numpy()
                for column, value in predictions[name].items():
                    into[column] += np.bincount(read.predicted_in, value.double().cpu().numpy(), n)
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

    def _kept(self, rows: NDArray[np.int64]) -> Kept | None:
        """The undisturbed pass, where what it gives at the one place that is written is all that is read."""
        if self._reader.sites.target or len(self._places) > 1:
            return None
        (place,) = self._places
        return place.model.keep(self._reader.tokens(rows), place.hook, positions=False)

    def _read(self, rows: NDArray[np.int64], kept: Kept | None) -> _Rows:
        owners = np.asarray(self._reader.corpus.documents[rows])
        if kept is None:
            everywhere = self._reader.values(rows)
        else:
            values = kept.values.flatten(0, 1).to("cpu", torch.float32)
            everywhere = Batch(values, positions_in(rows, self._reader.corpus.n_ctx))
        text = owners >= 0
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


def _predictions(
    place: Place, kept: Kept, rows: _Rows, mean: Tensor, reconstructions: Mapping[str, Reconstructed]
) -> dict[str, dict[str, Tensor]]:
    """`OF_PREDICTIONS` of every prediction that counts, with each reconstruction in the site's place, and at its `mean`
    under `AT_MEAN`.

    Only counted positions are changed. BOS, padding and norm outliers keep their own values: a dictionary was never
    shown them, and a broken attention sink would swamp every figure.
    """
    chosen, where = torch.from_numpy(rows.predicted), EVERYWHERE.within(rows.counted)

    def predicting(last: Tensor) -> Tensor:
        return last[:, :-1][chosen.to(last.device)]

    def given(values: float | Tensor) -> Tensor:
        return predicting(place.model.last(kept, bound(put(place.hook, values, where))))

    others = {AT_MEAN: given(mean), _AT_ZERO: given(0.0)}
    for name, (x_hat, _) in reconstructions.items():
        there = x_hat.new_zeros(*rows.counted.shape, place.width)
        there[rows.counted] = x_hat[:, place.columns]
        others[name] = given(there)
    loss, found = compared(place.model, predicting(kept.last), others, rows.tokens[:, 1:][chosen])
    at_mean, at_zero = found[AT_MEAN], found.pop(_AT_ZERO)
    shared = {"n_predicted": torch.ones_like(loss), "ce": loss, "ce_zero": at_zero.loss}
    shared |= {"ce_mean": at_mean.loss, "kl_mean": at_mean.divergence}
    return {name: shared | {"ce_spliced": one.loss, "kl": one.divergence} for name, one in found.items()}
