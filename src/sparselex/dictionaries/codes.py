"""Sparse codes: the active latents of a batch of tokens, and the orders in which they are needed."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ByLatent(NamedTuple):
    """The same codes ordered by latent: latent `j` owns the entries `offsets[j]:offsets[j + 1]`."""

    order: Int[Tensor, " nnz"]
    """Where each entry stands in row order."""

    latents: Int[Tensor, " nnz"]
    """Latent of each entry, ascending."""

    rows: Int[Tensor, " nnz"]
    """Token of each entry."""

    offsets: Int[Tensor, " d_sae_plus_1"]
    """Where each latent's entries begin."""


class Blocks(NamedTuple):
    """The places of codes cut into equal ranges of latents. They serve all codes with these places, so they have no
    values: `cut` gives them some."""

    order: Int[Tensor, " nnz"]
    """Where each entry stands in row order, the first range's entries before the second's; within one they stay ordered
    by token."""

    back: Int[Tensor, " nnz"]
    """Where each entry of the row order stands in `order`."""

    places: "tuple[Codes, ...]"
    """The entries of each range, latents counted from its first; every value is 0."""

    def cut(self, values: Float[Tensor, " nnz"]) -> "list[Codes]":
        """Each range as codes of its own, of values in row order."""
        parts = values.index_select(0, self.order).split([len(part.indices) for part in self.places])
        return [place.with_values(part) for place, part in zip(self.places, parts, strict=True)]

    def joined(self, values: Sequence[Tensor]) -> Float[Tensor, " nnz"]:
        """Values of each range, in row order again."""
        return torch.cat(list(values)).index_select(0, self.back)


class Codes:
    """Compressed rows: token `i` has the latents `indices[indptr[i]:indptr[i + 1]]` with these `values`.

    A latent that is not listed is 0. Values may be negative (signed dictionaries) and may carry gradients.
    """

    def __init__(
        self, indptr: Int[Tensor, " n_plus_1"], indices: Int[Tensor, " nnz"], values: Float[Tensor, " nnz"], d_sae: int
    ):
        self.indptr, self.indices, self.values, self.d_sae = indptr, indices, values, d_sae
        self.gate: Codes | None = None
        """What opens the latents, with gradients, for types whose penalty looks at that and not at the activations."""
        self._orders: dict[Any, Any] = {}
        """What has been sorted already; one and the same for all codes with these places."""

    @classmethod
    def from_pairs(cls, rows: Tensor, indices: Tensor, values: Tensor, n: int, d_sae: int) -> "Codes":
        """Codes from (token, latent, value) triples already ordered by token."""
        return cls(_offsets(rows, n), indices, values, d_sae)

    @classmethod
    def from_dense(cls, acts: Float[Tensor, "n d_sae"]) -> "Codes":
        """Codes of the non-zero entries of `acts`."""
        rows, indices = acts.nonzero(as_tuple=True)
        return cls.from_pairs(rows, indices, acts[rows, indices], *acts.shape)

    @classmethod
    def side_by_side(cls, parts: "Sequence[Codes]") -> "Codes":
        """Codes of the same tokens on one range of latents after another, as codes on all of them."""
        starts = [sum(part.d_sae for part in parts[:number]) for number in range(len(parts) + 1)]
        rows, order = torch.cat([part.rows for part in parts]).sort(stable=True)
        indices = torch.cat([part.indices + start for part, start in zip(parts, starts, strict=False)])[order]
        values = torch.cat([part.values for part in parts])[order]
        return cls.from_pairs(rows, indices, values, len(parts[0]), starts[-1])

    def __repr__(self) -> str:
        return f"Codes({len(self):,} tokens, {len(self.indices):,} active of {self.d_sae:,} latents)"

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def rows(self) -> Int[Tensor, " nnz"]:
        """Token of each entry."""
        if "rows" not in self._orders:
            rows = torch.arange(len(self), device=self.indptr.device)
            # The known size spares a GPU from waiting for the counts.
            self._orders["rows"] = rows.repeat_interleave(self.indptr.diff(), output_size=len(self.indices))
        return self._orders["rows"]

    @property
    def by_latent(self) -> ByLatent:
        """The entries sorted by latent (stable, so tokens stay in order): made once, used by both weight gradients."""
        if "by_latent" not in self._orders:
            latents, order = self.indices.int().sort(stable=True)  # half as many bytes to sort
            offsets = _offsets(latents, self.d_sae)
            self._orders["by_latent"] = ByLatent(order, latents.to(order.dtype), self.rows[order], offsets)
        return self._orders["by_latent"]

    def blocks(self, n_blocks: int) -> Blocks:
        """The entries by `n_blocks` equal ranges of latents; made once, like the orders."""
        if n_blocks not in self._orders:
            self._orders[n_blocks] = self._cut(n_blocks)
        return self._orders[n_blocks]

    def _cut(self, n_blocks: int) -> Blocks:
        width = self.d_sae // n_blocks
        owners, order = (self.indices // width).int().sort(stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        ends = _offsets(owners, n_blocks).tolist()
        rows, indices, zeros = self.rows[order], self.indices[order], self.values.new_zeros(1)
        parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        found = [(rows[part], indices[part] - number * width) for number, part in enumerate(parts)]
        places = [Codes.from_pairs(*part, zeros.expand(len(part[0])), len(self), width) for part in found]
        return Blocks(order, back, tuple(places))

    def at(self, entries: Int[Tensor, " m"]) -> "Codes":
        """These entries alone, by their ascending numbers."""
        rows, indices, values = self.rows[entries], self.indices[entries], self.values[entries]
        return Codes.from_pairs(rows, indices, values, len(self), self.d_sae)

    def with_values(self, values: Float[Tensor, " nnz"]) -> "Codes":
        """The same places with other values."""
        other = Codes(self.indptr, self.indices, values, self.d_sae)
        other._orders = self._orders  # they depend on places only
        return other

    def cpu(self) -> "Codes":
        """The same codes in the CPU's memory."""
        return Codes(self.indptr.cpu(), self.indices.cpu(), self.values.cpu(), self.d_sae)

    def dense(self) -> Float[Tensor, "n d_sae"]:
        """All latents written out, `[n, d_sae]`."""
        out = self.values.new_zeros(len(self), self.d_sae)
        return out.index_put((self.rows, self.indices), self.values)


def _offsets(ascending: Int[Tensor, " nnz"], n: int) -> Int[Tensor, " n_plus_1"]:
    """Where each of the numbers 0 to n - 1 begins in `ascending`, and its length."""
    return torch.searchsorted(
        ascending.contiguous(), torch.arange(n + 1, dtype=ascending.dtype, device=ascending.device)
    )
