"""Thousands of versions of a few rows of a corpus, in each of which something is added at one token: by how much what
the model predicts there and behind it moves."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.sites import Hook
from sparselex.causal.additions import Additions, can_be_apart, followed
from sparselex.causal.effects import check_finite
from sparselex.causal.predictions import changes
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel
from sparselex.text.rows import TokenRows

LOGITS = 2**22
"""Logits that are held at a time: 16 MiB in float32, which is near what processors keep at hand."""

_ROUNDING = 1e-9
"""Divergences below are what rounding leaves of a difference of nothing, nats."""

_VERSIONS = 8192
"""Versions whose vectors are held at a time."""

Vectors = Callable[[NDArray[np.int64]], Mapping[Hook, Float[Tensor, "n d"]]]
"""What versions of these numbers add at each hook."""


class Told(NamedTuple):
    """Of some versions, at the edited token and at those behind it."""

    divergence: NDArray[np.float32]
    """`[n, n_followed]`, nats; 0 beyond the text."""

    loss: NDArray[np.float32]
    """`[n, n_followed]`, by how much the cross-entropy of what comes rises, nats; NaN where what comes is no text of
    the document."""

    tokens: NDArray[np.int32]
    """`[n, n_shown]`, the next tokens whose probabilities change most, at the edited token alone, like the rest."""

    before: NDArray[np.float32]
    """`[n, n_shown]`, their probabilities."""

    after: NDArray[np.float32]
    """`[n, n_shown]`, and those of the version."""


class TakenUp(NamedTuple):
    """Rows as a pass takes them up in which each of some tokens has a version of its own."""

    start: Kept
    """A row for each token."""

    since: int
    """First position that is computed."""

    where: Int[Tensor, " n"]
    """Position of each token in its row; of tokens that are rows of their own, the first, once for all."""

    first: Int[Tensor, " n"]
    """Where each token is among the positions that are computed."""


class Versions(NamedTuple):
    """A few rows of the corpus whose versions are looked at."""

    model: SubjectModel
    """The model."""

    corpus: TokenRows
    """What the rows are of."""

    rows: NDArray[np.int64]
    """Their numbers, ascending."""

    kept: Kept
    """The pass over them."""

    n_after: int
    """Tokens behind the edited one that are looked at."""

    apart: bool
    """Whether each edited token may be a row of its own."""

    @classmethod
    def of(
        cls, reader: Reader, model: SubjectModel, rows: NDArray[np.int64], written: tuple[Hook, ...], n_after: int
    ) -> "Versions":
        """Those in which something is added at `written`, the earliest of which comes first."""
        kept = model.keep(reader.tokens(rows), written[0])
        apart = can_be_apart(model, kept, written)
        return cls(model, reader.corpus, rows, kept, 0 if apart else n_after, apart)

    def told(
        self, position: NDArray[np.int64], vectors: Vectors, n_shown: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], Told, NDArray[np.bool_]]]:
        """What versions change, each at its `position` in the corpus: numbers of some of them, what was found, and
        which tokens from the edited one on are of its text. Raises `UserError` where one leaves the model without
        finite numbers."""
        for numbers, last in self.last(position, vectors):
            yield from self._compared(numbers, position, last, n_shown)

    def last(
        self, position: NDArray[np.int64], vectors: Vectors
    ) -> Iterator[tuple[NDArray[np.int64], Float[Tensor, "n n_followed d_last"]]]:
        """What the unembedding reads in some versions at a time."""
        n_ctx = self.corpus.n_ctx
        order = np.lexsort((position, position % n_ctx))
        for part in np.split(order, np.arange(_VERSIONS, len(order), _VERSIONS)):
            row = np.searchsorted(self.rows, position[part] // n_ctx)
            column = torch.from_numpy(position[part] % n_ctx)
            made = Additions(torch.from_numpy(row), column, vectors(part))
            for numbers, last in followed(self.model, self.kept, made, self.n_after, apart=self.apart):
                yield part[numbers.numpy()], last

    def taken_up(self, position: NDArray[np.int64]) -> TakenUp:
        """What a pass begins with that changes something at each of these tokens and looks at those behind them: for
        callers that want gradients. Tokens of far apart columns are better taken up apart."""
        n_ctx = self.corpus.n_ctx
        row = torch.from_numpy(np.searchsorted(self.rows, position // n_ctx))
        column = torch.from_numpy(position % n_ctx)
        if self.apart:
            return TakenUp(self.kept.apart(row, column), 0, column.new_zeros(1), torch.zeros_like(column))
        since, stop = int(column.min()), min(n_ctx, int(column.max()) + self.n_after + 1)
        return TakenUp(self.kept.until(stop).of(row, since), since, column, column - since)

    def at_token(self, position: NDArray[np.int64], vectors: Vectors) -> Float[Tensor, "n d_last"]:
        """What the unembedding reads at the edited token itself, of all versions."""
        parts = list(self.last(position, vectors))
        back = torch.from_numpy(np.argsort(np.concatenate([numbers for numbers, _ in parts])))
        whole = torch.cat([last[:, 0] for _, last in parts])
        return whole[back.to(whole.device)]

    def plain(self, position: NDArray[np.int64]) -> Float[Tensor, "n d_last"]:
        """What the unembedding reads at tokens where nothing is added."""
        row = np.searchsorted(self.rows, position // self.corpus.n_ctx)
        last = self.kept.last.flatten(0, 1)
        return last[torch.from_numpy(row * self.corpus.n_ctx + position % self.corpus.n_ctx).to(last.device)]

    def behind(self, position: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of the positions looked at from each on, and the one behind them: places in the kept rows, `[n, n_followed +
        1]`; which are of the same row and document as the first, and which of these have what comes next there too,
        both `[n, n_followed]`."""
        n_ctx = self.corpus.n_ctx
        row = np.searchsorted(self.rows, position // n_ctx)[:, None]
        columns = (position % n_ctx)[:, None] + np.arange(self.n_after + 2)
        within = columns.clip(max=n_ctx - 1)
        documents = np.asarray(self.corpus.documents[self.rows])[row, within]
        inside = np.logical_and.accumulate((columns < n_ctx) & (documents == documents[:, :1]), axis=1)
        return row * n_ctx + within, inside[:, :-1], inside[:, 1:]

    def _compared(
        self,
        version: NDArray[np.int64],
        position: NDArray[np.int64],
        last: Float[Tensor, "n n_followed d"],
        n_shown: int,
    ) -> Iterator[tuple[NDArray[np.int64], Told, NDArray[np.bool_]]]:
        """Versions of one token are compared together: what is predicted there without them is formed once."""
        order = np.argsort(position[version], kind="stable")
        _, first, counts = np.unique(position[version][order], return_index=True, return_counts=True)
        most = max(1, LOGITS // (self.model.n_vocab * last.shape[1]))
        for count in np.unique(counts):
            of = first[counts == count]
            for some in np.split(of, np.arange(max(1, most // count), len(of), max(1, most // count))):
                group = order[some[:, None] + np.arange(count)]  # [n_tokens, count]
                found, inside = self._told(position[version[group[:, 0]]], last[torch.from_numpy(group)], n_shown)
                yield version[group.reshape(-1)], found, np.repeat(inside, count, axis=0)

    def _told(
        self, position: NDArray[np.int64], last: Float[Tensor, "n m n_followed d"], n_shown: int
    ) -> tuple[Told, NDArray[np.bool_]]:
        """`m` versions of each token, one after another."""
        (n, m, n_followed), device = last.shape[:3], last.device
        flat, inside, text_next = self.behind(position)
        there = torch.from_numpy(inside).to(device)
        reference = self.kept.last.flatten(0, 1)[torch.from_numpy(flat[:, :-1][inside]).to(device)]
        targets = self.kept.tokens.flatten()[torch.from_numpy(flat[:, 1:][inside])]
        made = changes(self.model, reference, last.transpose(1, 2)[there], targets, n_shown)
        kl, loss = np.zeros((n, n_followed, m), np.float32), np.full((n, n_followed, m), np.nan, np.float32)
        kl[inside], loss[inside] = made.divergence.cpu().numpy(), made.loss.cpu().numpy()
        kl[kl < _ROUNDING] = 0
        if not np.isfinite(kl).all():
            check_finite(torch.full((1, 1), torch.nan))
        loss[~text_next] = np.nan
        own = np.cumsum(inside.sum(1)) - inside.sum(1)  # the edited token itself, which is always inside
        shown = (part.cpu().numpy()[own].reshape(n * m, -1) for part in made[2:])
        by_version = lambda values: values.transpose(0, 2, 1).reshape(n * m, n_followed)
        return Told(by_version(kl), by_version(loss), *shown), inside


def in_rows(position: NDArray[np.int64], n_ctx: int, n_rows: int) -> list[NDArray[np.int64]]:
    """Numbers of the positions that lie in the same few rows."""
    rows, row = np.unique(position // n_ctx, return_inverse=True)
    order = np.argsort(row, kind="stable")
    bounds = np.searchsorted(row[order], np.arange(n_rows, len(rows), n_rows))
    return [part for part in np.split(order, bounds) if len(part)]
