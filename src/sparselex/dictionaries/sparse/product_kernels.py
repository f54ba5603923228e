"""The sparse products and the optimiser's pass over a matrix as Triton kernels; `products` has the former in PyTorch.
With those of `selection_kernels`, all that there are.

Tables are float32 or bfloat16, sums and results float32. Every result is a fixed order of additions, so a run repeats
bit by bit: nothing is added atomically. Only `products` imports this file, by its address, when it first meets a
tensor on a GPU: it needs Triton.

Gathers of whole rows from a table larger than the second cache run at the memory's speed. Where a kernel works through
all bags in one strip of columns before it turns to the next, the strip stays in that cache.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.sparse.selection_kernels import by_rows, group_maxima, largest_places, places_above

__all__ = ["WIDEST", "adam_rows", "bag_sums", "group_maxima", "largest_places", "pair_dots", "places_above"]

_STRIP = 128
"""Columns of a tile: 128 float32 of 65,536 latents are 32 MiB, which fit the 50 MiB cache of an H100."""

_STRIP_BYTES = 2**27
"""Bytes of a table whose columns are one span of `pair_dots`."""

# Many small programs: on an H100 these tiles take a third of the time that 16 entries in four warps took for weight
# gradients, and a sixth in bfloat16.

_N_ENTRIES = 2
"""Entries of a bag whose rows are fetched at a time."""

_N_PAIRS = 4
"""Pairs of rows whose products are summed at a time."""

_PIECE = 1024
"""Entries of a bag that one program sums; a latent active in every token of a batch is shared among many."""

WIDEST = 16_384
"""Longest row that `adam_rows` holds at once."""

# Decorated against the shape checks of the tests' import hook, whose wrapper Triton cannot read.


@triton.jit
@no_type_check
def _sum_pieces(
    table,
    indices,
    offsets,
    weights,
    out,
    partial,
    owners,
    ends,
    n_bags,
    d,
    stride,
    PIECE: tl.constexpr,
    ENTRIES: tl.constexpr,
    STRIP: tl.constexpr,
):
    """Programs below `n_bags` sum the first piece of their bag into `out`, those above a later piece into `partial`."""
    program = tl.program_id(0)
    columns = tl.program_id(1) * STRIP + tl.arange(0, STRIP)
    within = columns < d
    extra = program - n_bags
    bag, target, number = program.to(tl.int64), out + program.to(tl.int64) * d, program.to(tl.int64) * 0
    if extra >= 0:
        bag, target = tl.load(owners + extra), partial + extra.to(tl.int64) * d
        if bag < n_bags:
            before = tl.load(ends + bag - 1, mask=bag > 0, other=0)
            number = extra - before + 1
    if bag < n_bags:
        first = tl.load(offsets + bag) + number * PIECE
        last = tl.minimum(first + PIECE, tl.load(offsets + bag + 1))
        total = tl.zeros([ENTRIES, STRIP], tl.float32)
        for start in range(first, last, ENTRIES):
            entries = start + tl.arange(0, ENTRIES)
            inside = entries < last
            rows = tl.load(indices + entries, mask=inside, other=0)
            factors = tl.load(weights + entries, mask=inside, other=0.0)
            places = table + rows[:, None] * stride + columns[None, :]
            tile = tl.load(places, mask=inside[:, None] & within[None, :], other=0.0)
            total += tile.to(tl.float32) * factors[:, None]
        tl.store(target + columns, tl.sum(total, 0), mask=within)


@triton.jit
@no_type_check
def _add_pieces(out, partial, owners, ends, n_bags, d, STRIP: tl.constexpr):
    """The program of a bag's first later piece adds all of them to the bag, in order."""
    extra = tl.program_id(0)
    bag = tl.load(owners + extra)
    columns = tl.program_id(1) * STRIP + tl.arange(0, STRIP)
    within = columns < d
    if bag < n_bags:
        before = tl.load(ends + bag - 1, mask=bag > 0, other=0)
        if before == extra:
            total = tl.load(out + bag * d + columns, mask=within, other=0.0)
            for piece in range(before, tl.load(ends + bag)):
                total += tl.load(partial + piece * d + columns, mask=within, other=0.0)
            tl.store(out + bag * d + columns, total, mask=within)


@triton.jit
@no_type_check
def _dot_pairs(
    left, table, rows, indices, out, nnz, d, span, left_stride, table_stride, ENTRIES: tl.constexpr, STRIP: tl.constexpr
):
    """Dots over the columns of one span."""
    entries = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    inside = entries < nnz
    left_rows = left + tl.load(rows + entries, mask=inside, other=0)[:, None] * left_stride
    table_rows = table + tl.load(indices + entries, mask=inside, other=0)[:, None] * table_stride
    total = tl.zeros([ENTRIES, STRIP], tl.float32)
    begin = tl.program_id(1) * span
    for start in range(begin, tl.minimum(begin + span, d), STRIP):
        columns = (start + tl.arange(0, STRIP))[None, :]
        mask = inside[:, None] & (columns < d)
        a = tl.load(left_rows + columns, mask=mask, other=0.0).to(tl.float32)
        b = tl.load(table_rows + columns, mask=mask, other=0.0).to(tl.float32)
        total += a * b
    tl.store(out + tl.program_id(1).to(tl.int64) * nnz + entries, tl.sum(total, 1), mask=inside)


@triton.jit
@no_type_check
def _adam_row(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    factor,
    d,
    step_size,
    beta1,
    rest1,
    beta2,
    rest2,
    root2,
    eps,
    PROJECT: tl.constexpr,
    NORMALISE: tl.constexpr,
    FACTOR: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """One row: read once, written once."""
    columns = tl.arange(0, WIDTH)
    within = columns < d
    at = tl.program_id(0).to(tl.int64) * d + columns
    p = tl.load(param + at, mask=within, other=0.0)
    g = tl.load(grad + at, mask=within, other=0.0)
    if FACTOR:
        g = g * tl.load(factor)
    if PROJECT:
        g = g - p * (tl.sum(p * g, 0) / tl.sum(p * p, 0))
    m = beta1 * tl.load(exp_avg + at, mask=within, other=0.0) + rest1 * g
    v = beta2 * tl.load(exp_avg_sq + at, mask=within, other=0.0) + rest2 * g * g
    p = p - step_size * (m / (tl.sqrt(v) / root2 + eps))
    if NORMALISE:
        p = p / tl.maximum(tl.sqrt(tl.sum(p * p, 0)), 1.1754944e-38)
    tl.store(param + at, p, mask=within)
    tl.store(exp_avg + at, m, mask=within)
    tl.store(exp_avg_sq + at, v, mask=within)


def bag_sums(
    table: Float[Tensor, "m d"],
    indices: Int[Tensor, " nnz"],
    offsets: Int[Tensor, " bags_plus_1"],
    weights: Float[Tensor, " nnz"],
) -> Float[Tensor, "bags d"]:
    """Weighted sums of the rows of `table`, bag by bag, in float32."""
    table, n_bags, d = by_rows(table), len(offsets) - 1, table.shape[1]
    out = torch.empty(n_bags, d, dtype=torch.float32, device=table.device)
    if not out.numel():
        return out
    # How many bags are long only the GPU knows; how many later pieces there can be follows from the sizes, and nobody
    # waits.
    n_extra = len(indices) // _PIECE
    ends = owners = offsets
    if n_extra:
        ends = ((offsets.diff() - 1).clamp_min(0) // _PIECE).cumsum(0)
        owners = torch.searchsorted(ends, torch.arange(n_extra, device=ends.device), right=True)
    partial = out.new_empty(n_extra, d)
    strips = triton.cdiv(d, _STRIP)
    with torch.cuda.device_of(table):  # Triton launches on the current GPU, whichever the tensors are on
        read, written, sizes = (table, indices, offsets, weights), (out, partial), (n_bags, d, table.stride(0))
        blocks = {"PIECE": _PIECE, "ENTRIES": _N_ENTRIES, "STRIP": _STRIP}
        _sum_pieces[n_bags + n_extra, strips](*read, *written, owners, ends, *sizes, **blocks, num_warps=1)
        if n_extra:
            _add_pieces[n_extra, strips](out, partial, owners, ends, n_bags, d, STRIP=_STRIP)
    return out


def pair_dots(
    left: Float[Tensor, "n d"], table: Float[Tensor, "m d"], rows: Int[Tensor, " nnz"], indices: Int[Tensor, " nnz"]
) -> Float[Tensor, " nnz"]:
    """`left[rows[i]] · table[indices[i]]` for each i, in float32, without a `[nnz, d]` intermediate."""
    left, table, nnz, d = by_rows(left), by_rows(table), len(rows), table.shape[1]
    n_spans = max(1, min(triton.cdiv(table.numel() * table.element_size(), _STRIP_BYTES), triton.cdiv(d, _STRIP)))
    span = _STRIP * triton.cdiv(triton.cdiv(d, n_spans), _STRIP)
    n_spans = max(1, triton.cdiv(d, span))
    out = torch.empty(n_spans, nnz, dtype=torch.float32, device=table.device)
    if nnz:
        with torch.cuda.device_of(table):
            grid, sizes = (triton.cdiv(nnz, _N_PAIRS), n_spans), (nnz, d, span, left.stride(0), table.stride(0))
            _dot_pairs[grid](left, table, rows, indices, out, *sizes, ENTRIES=_N_PAIRS, STRIP=_STRIP, num_warps=1)
    return out[0] if n_spans == 1 else out.sum(0)


def adam_rows(
    param: Float[Tensor, "rows d"],
    grad: Float[Tensor, "rows d"],
    exp_avg: Float[Tensor, "rows d"],
    exp_avg_sq: Float[Tensor, "rows d"],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    factor: Float[Tensor, ""] | None = None,
    project: bool = False,
    normalise: bool = False,
) -> None:
    """One step of Adam on a float32 matrix, in place, as `torch.optim.Adam` takes it.

    Everything is read once and written once, 28 bytes a weight; with separate passes for clipping, projection and norms
    it would be more than twice that. By arithmetic, even so it takes as long as the encoder's product at a batch of
    some 6,000 tokens (bfloat16 at the peak of an H200).

    Args:
        param, grad, exp_avg, exp_avg_sq: contiguous float32, rows of at most `WIDEST`.
        step: number of this step, from 1.
        factor: what the gradient is multiplied by first (clipping), on the device.
        project: take from the gradient of each row its part along the row, as `training.decoder.project_out`.
        normalise: bring each row to unit norm afterwards, as `training.decoder.normalise`.
    """
    d = param.shape[1]
    assert d <= WIDEST and all(tensor.is_contiguous() for tensor in (param, grad, exp_avg, exp_avg_sq))
    if not param.numel():
        return
    (beta1, beta2), width = betas, triton.next_power_of_2(d)
    tensors = (param, grad, exp_avg, exp_avg_sq, param if factor is None else factor)
    rates = (lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, (1 - beta2**step) ** 0.5, eps)
    choices = {"PROJECT": project, "NORMALISE": normalise, "FACTOR": factor is not None, "WIDTH": width}
    with torch.cuda.device_of(param):
        _adam_row[len(param),](*tensors, d, *rates, **choices, num_warps=max(1, min(16, width // 512)))
