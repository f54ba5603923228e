"""Sparse codes: the active latents of a batch of tokens, and the two orders in which they are needed."""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ByLatent(NamedTuple):
    """The same codes ordered by latent: latent `j` owns the entries `offsets[j]:offsets[j + 1]`."""

    order: Int[Tensor, " nnz"]
    """Where each entry stands in row order."""

    rows: Int[Tensor, " nnz"]
    """Token of each entry."""

    offsets: Int[Tensor, " d_sae_plus_1"]
    """Where each latent's entries begin."""


class Codes:
    """Compressed rows: token `i` has the latents `indices[indptr[i]:indptr[i + 1]]` with these `values`.

    A latent that is not listed is 0. Values may be negative (signed dictionaries) and may carry gradients.
    """

    def __init__(
        self,
        indptr: Int[Tensor, " n_plus_1"],
        indices: Int[Tensor, " nnz"],
        values: Float[Tensor, " nnz"],
        d_sae: int,
    ):
        self.indptr, self.indices, self.values, self.d_sae = indptr, indices, values, d_sae
        self.gate: Codes | None = None
        """What opens the latents, with gradients, for types whose penalty looks at that and not at the activations."""

    @classmethod
    def from_pairs(cls, rows: Tensor, indices: Tensor, values: Tensor, n: int, d_sae: int) -> "Codes":
        """Codes from (token, latent, value) triples already ordered by token."""
        return cls(_offsets(rows, n), indices, values, d_sae)

    @classmethod
    def from_dense(cls, acts: Float[Tensor, "n d_sae"]) -> "Codes":
        """Codes of the non-zero entries of `acts`."""
        rows, indices = acts.nonzero(as_tuple=True)
        return cls.from_pairs(rows, indices, acts[rows, indices], *acts.shape)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " nnz"]:
        """Token of each entry."""
        rows = torch.arange(len(self), device=self.indptr.device)
        # The known size spares a GPU from waiting for the counts.
        return rows.repeat_interleave(self.indptr.diff(), output_size=len(self.indices))

    @cached_property
    def by_latent(self) -> ByLatent:
        """The entries sorted by latent (stable, so tokens stay in order): made once, used by both weight gradients."""
        latents, order = self.indices.int().sort(stable=True)  # half as many bytes to sort
        return ByLatent(order, self.rows[order], _offsets(latents, self.d_sae))

    def with_values(self, values: Float[Tensor, " nnz"]) -> "Codes":
        """The same places with other values."""
        other = Codes(self.indptr, self.indices, values, self.d_sae)
        # Orders depend on places only: hand on what has been sorted already.
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k in ("rows", "by_latent")})
        return other

    def dense(self) -> Float[Tensor, "n d_sae"]:
        """All latents written out, `[n, d_sae]`."""
        out = self.values.new_zeros(len(self), self.d_sae)
        return out.index_put((self.rows, self.indices), self.values)


def _offsets(ascending: Int[Tensor, " nnz"], n: int) -> Int[Tensor, " n_plus_1"]:
    """Where each of the numbers 0 to n - 1 begins in `ascending`, and its length."""
    return torch.searchsorted(
        ascending.contiguous(), torch.arange(n + 1, dtype=ascending.dtype, device=ascending.device)
    )
