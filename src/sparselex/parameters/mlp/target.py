"""The MLP of one block of a language model as what is decomposed: its predictions under other matrices."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sparselex.lm.kept import Kept
from sparselex.lm.mlps import Matrix, full, mlp_of
from sparselex.lm.subject import Edit, SubjectModel
from sparselex.parameters.target import LinearMap, Ran
from sparselex.text.rows import TokenRows

ROWS_FOR_ONE = 4
"""Rows from which the tokens of one row's worth are drawn where tokens do not see each other behind the MLP: reading
them is cheap beside what components cost, and tokens of one row are much alike."""


class _Read(NamedTuple):
    """What was read of some tokens up to the MLP."""

    kept: Kept
    """The pass, to be taken up there."""

    at: Int[Tensor, " n"]
    """Where the tokens stand in it, rows one after another."""

    x: Float[Tensor, "n d_model"]
    """What the MLP reads there."""


class _Caught:
    """An edit that changes nothing and keeps what passes at these tokens."""

    def __init__(self, at: Tensor):
        self.at, self.found = at, torch.empty(0)

    def __call__(self, value: Tensor) -> Tensor:
        self.found = full(value.flatten(0, 1)[self.at]).cpu()
        return value


class MlpTarget:
    """The matrices of one MLP. An input is a token of a corpus, by its position; its output are the log-probabilities
    of all tokens to follow it; the distance is `KL(model || masked)` in nats. Matrices and what is made of them are on
    the CPU wherever the model runs.

    What lies before the MLP never changes, so that it is read once for each batch. Behind the last block's MLP tokens
    do not see each other, and they are run alone where the model can be taken up so; else whole rows are run, and only
    the tokens asked for are changed in them.
    """

    def __init__(self, model: SubjectModel, corpus: TokenRows, layer: int):
        """Raises `UserError` where the block's MLP cannot be taken apart (`lm.mlps`)."""
        self.model, self.corpus = model, corpus
        self.mlp = mlp_of(model, layer)
        self.alone = layer == model.n_layers - 1 and self._can_be_alone()
        self.weights: dict[str, Tensor] = {one.name: one.weight for one in self.mlp.every}
        self._seen: tuple[Tensor, _Read] | None = None

    def run(self, x: Int[Tensor, " n"], maps: Mapping[str, LinearMap]) -> Ran:
        """Run at these positions of the corpus with some of the matrices replaced there."""
        read, grad = self._read(x), torch.is_grad_enabled()
        hidden = _Caught(read.at)
        edits: dict[str, Edit] = {self.mlp.hidden: hidden}
        for one in self.mlp.first:
            if one.name in maps:
                edits[one.hook] = _replaced(read.at, _given(one, maps[one.name], read.x))
        last = self.mlp.last
        if last.name in maps:
            edits[last.hook] = lambda value: _replaced(read.at, _given(last, maps[last.name], hidden.found))(value)
        end = self.model.last(read.kept, edits, grad=grad)
        logits = self.model.predict(end.flatten(0, 1)[read.at], grad=grad)
        inputs = {one.name: read.x for one in self.mlp.first} | {last.name: hidden.found}
        return Ran(functional.log_softmax(full(logits).cpu(), -1), inputs)

    def distance(
        self, output: Float[Tensor, "n n_vocab"], reference: Float[Tensor, "n n_vocab"]
    ) -> Float[Tensor, " n"]:
        """`KL(reference || output)` of log-probabilities, nats a token."""
        return functional.kl_div(output, reference, reduction="none", log_target=True).sum(-1)

    def cross_entropy(self, x: Int[Tensor, " n"], output: Float[Tensor, "n n_vocab"]) -> Float[Tensor, " n"]:
        """Nats for the token that follows in the row; NaN where none of the same row does, or it is no text."""
        n_ctx, flat = self.corpus.n_ctx, np.asarray(x)
        rows, columns = np.divmod(flat, n_ctx)
        after = self.corpus.documents.reshape(-1)[np.minimum(flat + 1, (rows + 1) * n_ctx - 1)]
        follows = (columns + 1 < n_ctx) & (after >= 0)
        following = torch.from_numpy(self.corpus.tokens.reshape(-1)[np.where(follows, flat + 1, flat)].astype(np.int64))
        found = -output.gather(-1, following[:, None])[:, 0]
        return torch.where(torch.from_numpy(follows), found, torch.nan)

    def draw(self, rows: range, n: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """`n` positions of text in rows that are drawn of these, in order; fewer where the rows drawn have fewer."""
        n_rows = -(-n // self.corpus.n_ctx) * (ROWS_FOR_ONE if self.alone else 1)
        chosen = torch.randperm(len(rows), generator=generator)[:n_rows].sort().values.numpy() + rows.start
        every = torch.from_numpy(text_positions(self.corpus, chosen))
        return every[torch.randperm(len(every), generator=generator)[:n].sort().values]

    @torch.no_grad()
    def _can_be_alone(self) -> bool:
        """Whether tokens of the first row, each taken up by itself, end as they do in it: where a token's place in its
        row is added to the stream before the block (GPT-2), they do not."""
        kept = self._kept(np.arange(1))
        column = torch.arange(self.corpus.n_ctx)
        end = self.model.last(kept.apart(torch.zeros_like(column), column))[:, 0]
        return bool((end - kept.last[0]).norm() <= 1e-3 * kept.last[0].norm())

    def _read(self, x: Tensor) -> _Read:
        """The pass up to the MLP at these positions; that of the last batch is still there."""
        if self._seen is None or self._seen[0] is not x:
            self._seen = (x, self._read_anew(x))
        return self._seen[1]

    @torch.no_grad()
    def _read_anew(self, x: Tensor) -> _Read:
        n_ctx = self.corpus.n_ctx
        rows, at = np.unique(x.numpy() // n_ctx, return_inverse=True)
        kept = self._kept(rows)
        row, column = torch.from_numpy(at.reshape(-1)), x % n_ctx
        if self.alone:
            kept, places = kept.apart(row, column), torch.arange(len(x))
        else:
            places = row * n_ctx + column
        return _Read(kept, places, full(kept.values.flatten(0, 1)[places]).cpu())

    def _kept(self, rows: NDArray[np.int64]) -> Kept:
        tokens = torch.from_numpy(np.asarray(self.corpus.tokens[rows]).astype(np.int64))
        return self.model.keep(tokens, self.mlp.read, positions=False)


def text_positions(corpus: TokenRows, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """`[n]`, the positions of text in these rows, in their order."""
    places = np.flatnonzero(corpus.text_mask(rows))
    return rows[places // corpus.n_ctx] * corpus.n_ctx + places % corpus.n_ctx


def _given(one: Matrix, linear: LinearMap, x: Tensor) -> Tensor:
    """What a matrix that was replaced gives, its bias added."""
    given = linear(x)
    return given if one.bias is None else given + one.bias


def _replaced(at: Tensor, new: Tensor) -> Edit:
    """The edit that puts `new` at these tokens."""
    return lambda value: value.flatten(0, 1).index_copy(0, at.to(value.device), new.to(value)).view_as(value)
