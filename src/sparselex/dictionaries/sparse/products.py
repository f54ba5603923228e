"""Sparse decode and encode with sparse gradients: nothing of size `[n, d_sae]` is written after the encoder's product.

A dense step costs five products of `2 n d_in d_sae` operations; with k active latents a token, all but the encoder's
forward shrink to `2 n k d_in`. Weight gradients are sums over the tokens in which a latent is active: sorted by latent
they are an embedding bag with latents as bags and tokens as the table, which a scatter (`index_add_`) does several
times slower.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.kinds import Gradients

_KERNELS = "sparselex.dictionaries.sparse.product_kernels"
"""An address, imported for the first tensor on a GPU and never with the library: it needs Triton."""

_BLOCK_SCORES = 2**21
"""Scores computed at a time on CPUs, 8 MiB in float32: small enough that what looks for the large ones finds them in
the cache."""

_BLOCK_SCORES_GPU = 2**28
"""The same on GPUs, for all latents of some tokens. They stand still between blocks while the number of places found
reaches the host."""

_FEWEST_LATENTS = 512
"""Latents in a block at least; products with fewer run slower."""

SPARSE_BELOW = 0.08
"""Share of active latents under which sparse gradients are faster than dense products on CPUs (docs/lab-log.md)."""


WHOLE = {torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}
"""Whole numbers of as many bits: those of floats above zero order like the floats."""


@lru_cache(maxsize=1)
def _triton_kernels() -> ModuleType | None:
    return import_module(_KERNELS) if find_spec("triton") else None


def kernels_for(table: Tensor) -> ModuleType | None:
    """The Triton kernels where they serve: for float32 and bfloat16 on a GPU, with Triton installed."""
    return _triton_kernels() if table.is_cuda and table.dtype in (torch.float32, torch.bfloat16) else None


# Row dots of two gathered matrices without writing the gathered rows; PyTorch keeps it for embedding_bag's own
# backward.
_row_dots = torch.ops.aten._embedding_bag_per_sample_weights_backward


def pair_dots(
    left: Float[Tensor, "n d"], table: Float[Tensor, "m d"], rows: Int[Tensor, " nnz"], indices: Int[Tensor, " nnz"]
) -> Float[Tensor, " nnz"]:
    """`left[rows[i]] · table[indices[i]]` for each i, without a `[nnz, d]` intermediate.

    Several times faster where `rows` ascend and `table` is the smaller matrix, which then stays in the cache.
    """
    if kernels := kernels_for(table):
        return kernels.pair_dots(left, table, rows, indices)
    dtype = torch.promote_types(torch.promote_types(left.dtype, table.dtype), torch.float32)
    return _row_dots(left.to(dtype), table.to(dtype), indices, rows, rows, 0)


class Block(NamedTuple):
    """Scores of some tokens of a batch for a range of latents."""

    token: int
    """The first token."""

    latent: int
    """The first latent."""

    scores: Tensor
    """`[n, m]`, unbroken in memory."""


class Scorer:
    """`x @ W * norms + bias` for all latents, range by range, and exactly at chosen places; without gradients."""

    def __init__(
        self,
        rows: Float[Tensor, "d_sae d_in"],
        norms: Float[Tensor, " d_sae"],
        bias: Float[Tensor, " d_sae"],
        dtype: torch.dtype,
    ):
        self.norms, self.dtype, self._rows, self._bias = norms, dtype, rows, bias

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "n d_in"]) -> Tensor:
        """All scores `[n, d_sae]`, in the scorer's precision."""
        weights = (self._rows * self.norms[:, None]).to(self.dtype)
        return torch.addmm(self._bias.to(self.dtype), x.to(self.dtype), weights.T)

    @torch.no_grad()
    def blocks(self, x: Float[Tensor, "n d_in"], *, into: Tensor | None = None) -> Iterator[Block]:
        """The same scores block by block, the latents of some tokens before those of the next.

        Each block is overwritten by the next, unless there is room for all `n d_sae` of them in `into`, where they lie
        one after another.
        """
        d_sae, (n_tokens, width) = len(self._rows), block_shape(x, len(self._rows))
        bias, written = self._bias.to(self.dtype), 0
        weights = self._rows.new_empty(width, self._rows.shape[1], dtype=self.dtype)
        room = x.new_empty(n_tokens * width, dtype=self.dtype) if into is None else into
        x = x.to(self.dtype)
        for token in range(0, len(x), n_tokens):
            part = x[token : token + n_tokens]
            for latent in range(0, d_sae, width):
                at = slice(latent, min(latent + width, d_sae))
                m = at.stop - latent
                if not token or m < d_sae:  # else they are still those of the tokens before
                    torch.mul(self._rows[at], self.norms[at, None], out=weights[:m])
                scores = room[written : written + len(part) * m].view(len(part), m)
                # The bias is set first and the product added to it in the cache: no other way to add it is free.
                yield Block(token, latent, torch.addmm(bias[at], part, weights[:m].T, out=scores))
                written += 0 if into is None else scores.numel()

    @torch.no_grad()
    def at(
        self,
        x: Float[Tensor, "n d_in"],
        rows: Int[Tensor, " nnz"],
        indices: Int[Tensor, " nnz"],
        gradients: Gradients = "auto",
    ) -> Float[Tensor, " nnz"]:
        """The scores at `[rows, indices]` in the precision of `x`; by rounded weights where `gradients` are rounded
        too."""
        weights = self._rows.bfloat16() if gradients == "bfloat16" else self._rows
        latents, order = indices.sort()
        dots = pair_dots(weights, x, latents, rows[order])
        return torch.empty_like(dots).index_copy_(0, order, dots.mul_(self.norms[latents]).add_(self._bias[latents]))


def block_shape(x: Float[Tensor, "n d_in"], d_sae: int) -> tuple[int, int]:
    """Tokens and latents in a block of scores; latents are a multiple of 64 unless they are all."""
    if x.is_cuda:
        return max(1, min(len(x), _BLOCK_SCORES_GPU // d_sae)), d_sae
    n_tokens = max(1, min(len(x), _BLOCK_SCORES // _FEWEST_LATENTS))
    return n_tokens, min(d_sae, max(_FEWEST_LATENTS, _BLOCK_SCORES // n_tokens) // 64 * 64)


def places_above(values: Float[Tensor, " n"], bar: float) -> Int[Tensor, " m"]:
    """Where `values` exceed `bar` (which is not negative), ascending."""
    if values.device.type != "cpu":
        return (values > bar).nonzero().view(-1)
    bits = WHOLE[values.dtype]  # NumPy finds places twice as fast, and has no bfloat16
    least = torch.tensor(bar, dtype=values.dtype, device="cpu").view(bits)
    return torch.from_numpy(np.flatnonzero(values.detach().view(bits).numpy() > least.numpy()))


def scores_above(scores: Float[Tensor, "n m"], bar: float) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
    """Where `scores` exceed `bar` (which is not negative), as places in the flattened matrix, ascending; and what is
    there."""
    if scores.dtype == torch.bfloat16 and (kernels := kernels_for(scores)):
        return kernels.places_above(scores, kernels.group_maxima(scores), bar)
    flat = scores.view(-1)
    places = places_above(flat, bar)
    return places, flat[places]


def nth_largest(values: Float[Tensor, " m"], n: int) -> Float[Tensor, ""]:
    """The `n`-th largest of `values`, counted from 1."""
    if values.device.type != "cpu":
        # On GPUs kthvalue works through a whole row in one block, topk in as many as there are.
        return values.topk(n, sorted=False).values.min()
    place = len(values) - n  # NumPy's partition is ten times as fast as kthvalue
    return torch.from_numpy(np.partition(values.detach().numpy(), place)[place : place + 1])[0]


def bag_sums(
    table: Float[Tensor, "m d"],
    indices: Int[Tensor, " nnz"],
    offsets: Int[Tensor, " bags_plus_1"],
    weights: Float[Tensor, " nnz"],
) -> Float[Tensor, "bags d"]:
    """Weighted sums of the rows of `table`, bag by bag, in the precision of `weights`."""
    if kernels := kernels_for(table):
        return kernels.bag_sums(table, indices, offsets, weights)
    rows = table.to(weights.dtype)
    return F.embedding_bag(indices, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, W_dec: Tensor, b_dec: Tensor, codes: Codes, rounded: bool) -> Tensor:
        table = W_dec.bfloat16() if rounded else W_dec
        ctx.save_for_backward(values, table)
        ctx.codes, ctx.dtype = codes, table.dtype
        return bag_sums(table, codes.indices, codes.indptr, values).add_(b_dec)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (values, table), codes = grads, ctx.saved_tensors, ctx.codes
        rows = grad.to(ctx.dtype).contiguous()
        by = codes.by_latent
        grad_W = bag_sums(rows, by.rows, by.offsets, values[by.order])
        dots = pair_dots(table, rows, by.latents, by.rows)
        return torch.empty_like(dots).index_copy_(0, by.order, dots), grad_W, grad.sum(0), None, None


class _EncodeAt(torch.autograd.Function):
    """Pre-activations at chosen places, their values already known from the product that chose them."""

    @staticmethod
    def forward(ctx, x: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, codes: Codes) -> Tensor:
        ctx.save_for_backward(x, W_enc, b_dec)
        ctx.codes = codes
        return codes.values.clone()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, W_enc, b_dec), codes = grads, ctx.saved_tensors, ctx.codes
        by = codes.by_latent
        weights = grad.contiguous()[by.order]
        # In latent order, not by index_add_: on GPUs that adds in another order each time, and no run would repeat.
        grad_b = torch.segment_reduce(weights, "sum", offsets=by.offsets, initial=0, unsafe=True)
        # x is centred by b_dec before encoding; the centring's share is a rank-one term, so x - b_dec is never kept.
        grad_W = bag_sums(x, by.rows, by.offsets, weights).addr_(grad_b, b_dec, alpha=-1)
        return None, grad_W.T, grad_b, -(W_enc @ grad_b) if ctx.needs_input_grad[3] else None, None


def is_sparse(codes: Codes, gradients: Gradients) -> bool:
    """Whether `codes` go the sparse way: the written rule, unless told otherwise."""
    if gradients == "auto":
        return len(codes.indices) < SPARSE_BELOW * len(codes) * codes.d_sae
    return gradients != "dense"


def decode_at(
    codes: Codes, W_dec: Float[Tensor, "d_sae d_out"], b_dec: Float[Tensor, " d_out"], *, gradients: Gradients = "auto"
) -> Float[Tensor, "n d_out"]:
    """`codes.dense() @ W_dec + b_dec`, with gradients for the values, `W_dec` and `b_dec`."""
    if not is_sparse(codes, gradients):
        return codes.dense() @ W_dec + b_dec
    return _Decode.apply(codes.values, W_dec, b_dec, codes, gradients == "bfloat16")


def encode_at(
    x: Float[Tensor, "n d_in"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    b_dec: Float[Tensor, " d_in"],
    codes: Codes,
    *,
    gradients: Gradients = "auto",
) -> Codes:
    """`codes`, whose values are `((x - b_dec) @ W_enc + b_enc)` at its places, tied to the weights for gradients.

    `x` receives no gradient: it comes from a frozen model.
    """
    if not is_sparse(codes, gradients):
        return codes.with_values(torch.addmm(b_enc, x - b_dec, W_enc)[codes.rows, codes.indices])
    table = x.bfloat16() if gradients == "bfloat16" else x
    return codes.with_values(_EncodeAt.apply(table, W_enc, b_enc, b_dec, codes))


def positive_codes(
    x: Float[Tensor, "n d_in"],
    pre_acts: Float[Tensor, "n d_sae"],
    W_enc: Float[Tensor, "d_in d_sae"],
    b_enc: Float[Tensor, " d_sae"],
    b_dec: Float[Tensor, " d_in"],
    *,
    gradients: Gradients = "auto",
) -> Codes:
    """Codes of the positive `pre_acts`, tied to the weights: by the sparse way, or through the product that made
    `pre_acts`."""
    n, d_sae = pre_acts.shape
    flat = pre_acts.reshape(-1)
    places = places_above(flat.detach(), 0.0)
    codes = Codes.from_pairs(places // d_sae, places % d_sae, flat.detach()[places], n, d_sae)
    if is_sparse(codes, gradients):
        return encode_at(x, W_enc, b_enc, b_dec, codes, gradients=gradients)
    return codes.with_values(flat[places])
