"""Selection among a dictionary's scores as Triton kernels: exact, reading a few per cent of the scores.

Beside bfloat16 scores `[n, m]` lie maxima `[n, groups]`, one for `GROUP` neighbouring latents of a token. The k largest
of a row lie in the k groups with the largest maxima, and what exceeds a bar in groups whose maxima do. Rounding keeps
order, so the maximum of rounded scores is the rounded maximum.

Budget at 2,304 -> 65,536, k 64 and 8 spare, batch 32,768, by arithmetic for an H200 (790 TFLOP/s, 4.8 TB/s): the
product is 9.9e12 operations, 12.5 ms, and its 4.3 GB of scores are written meanwhile. `torch.topk` and `nonzero` read
them several times. The maxima are 134 MB; 72 groups a token are 151 MB of scores, 0.1 ms with the maxima. Only the
maxima have to come from all scores, by one more pass of 0.9 ms. Taking them out of the product's own accumulators would
save that, and pays only where such a product keeps 93 % of the library's rate.

Decorated and written like `product_kernels`: a fixed order everywhere, nothing added atomically; among equals at the
cut the lowest latents are taken.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import BFloat16, Float, Int
from torch import Tensor

GROUP = 32
"""Latents of one maximum: maxima and members together are fewest at the root of `d_sae / k`, and both sides rise
slowly. 64 bytes of a row."""

WIDEST = 16_384
"""Numbers that one program ranks: at most 524,288 latents, and a k of at most 512."""

_MAXIMA = 256
"""Groups whose maxima one program takes, 16 KiB of scores."""

_GROUPS = 64
"""Groups whose members one program compares."""


@triton.jit
@no_type_check
def _maxima(scores, maxima, m, stride, n_groups, GROUP: tl.constexpr, GROUPS: tl.constexpr, SIGNED: tl.constexpr):
    """The maxima of `GROUPS` groups of one row."""
    row = tl.program_id(0).to(tl.int64)
    groups = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    columns = groups[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    sizes = tl.load(scores + row * stride + columns, mask=columns < m, other=0.0).to(tl.float32)
    sizes = tl.where(columns < m, tl.abs(sizes) if SIGNED else sizes, float("-inf"))
    tl.store(maxima + row * n_groups + groups, tl.max(sizes, 1).to(tl.bfloat16), mask=groups < n_groups)


@triton.jit
@no_type_check
def _pick(
    values,
    groups,
    out,
    m,
    k,
    stride,
    GROUPED: tl.constexpr,
    GROUP: tl.constexpr,
    LANES: tl.constexpr,
    SIGNED: tl.constexpr,
):
    """Columns of the k largest of one row, ascending; `GROUPED` among the members of `groups [n, k]`, ascending, else
    among all."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    columns, inside = lanes, lanes < m
    if GROUPED:
        number = lanes // GROUP
        columns = tl.load(groups + row * k + number, mask=number < k, other=0) * GROUP + lanes % GROUP
        inside = (number < k) & (columns < m)
    bits = tl.load(values + row * stride + columns, mask=inside, other=0.0).to(tl.int16, bitcast=True).to(tl.int32)
    # Whole numbers in the order of the floats, both zeros alike.
    ranked = tl.where(bits == -0x8000, 0, tl.where(bits < 0, bits ^ 0x7FFF, bits))
    order = bits & 0x7FFF if SIGNED else ranked
    order = tl.where(inside, order, -0x10000)
    cut = -0x8000  # the largest number that k or more reach, bit by bit
    for step in range(16):
        higher = cut + (0x8000 >> step)
        cut = tl.where(tl.sum((order >= higher).to(tl.int32), 0) >= k, higher, cut)
    above, equal = order > cut, order == cut
    n_equal = k - tl.sum(above.to(tl.int32), 0)
    # Both counts in one running sum; neither passes 2^14.
    before = tl.cumsum(above.to(tl.int32) + (equal.to(tl.int32) << 16), 0)
    n_above, rank = before & 0xFFFF, before >> 16
    place = n_above + tl.minimum(rank, n_equal) - 1
    tl.store(out + row * k + place, columns, mask=above | (equal & (rank <= n_equal)))


@triton.jit
@no_type_check
def _members(
    scores,
    groups,
    ends,
    places,
    values,
    bar,
    n_found,
    m,
    stride,
    n_groups,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    WRITE: tl.constexpr,
):
    """How many members of each of the `groups` exceed `bar`, into `ends`; or, with their running sums there, which, and
    what they are."""
    numbers = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    inside = numbers < n_found
    group = tl.load(groups + numbers, mask=inside, other=0)
    row, columns = group // n_groups, (group % n_groups)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    mask = inside[:, None] & (columns < m)
    found = tl.load(scores + row[:, None] * stride + columns, mask=mask, other=float("-inf")).to(tl.float32)
    above = (found > bar) & mask
    counts = above.to(tl.int32)
    if WRITE:
        before = tl.load(ends + numbers - 1, mask=inside & (numbers > 0), other=0)
        to = before[:, None] + tl.cumsum(counts, 1) - 1
        tl.store(places + to, row[:, None] * m + columns, mask=above)
        tl.store(values + to, found, mask=above)
    else:
        tl.store(ends + numbers, tl.sum(counts, 1), mask=inside)


def group_maxima(scores: BFloat16[Tensor, "n m"], *, signed: bool = False) -> BFloat16[Tensor, "n groups"]:
    """The largest of each `GROUP` neighbouring scores of a row (`signed`: of their absolute values); the last group may
    be smaller."""
    (n, m), scores = scores.shape, by_rows(scores)
    maxima = scores.new_empty(n, triton.cdiv(m, GROUP))
    if maxima.numel():
        with torch.cuda.device_of(scores):
            sizes, choices = (m, scores.stride(0), maxima.shape[1]), {"GROUPS": _MAXIMA, "SIGNED": signed}
            grid = (n, triton.cdiv(maxima.shape[1], _MAXIMA))
            _maxima[grid](scores, maxima, *sizes, GROUP=GROUP, **choices, num_warps=8)
    return maxima


def largest_places(
    scores: BFloat16[Tensor, "n m"], maxima: BFloat16[Tensor, "n groups"], k: int, *, signed: bool = False
) -> Int[Tensor, "n k"]:
    """Places of the k largest of each row (`signed`: of their absolute values), ascending; among equals the lowest. At
    most m.

    One program a row finds the k-th largest by halving, 16 counts of numbers that lie in registers: first among the
    maxima, then among the members of k groups. Groups are neighbours, so the lowest of equal groups hold the lowest of
    equal scores.
    """
    (n, m), n_groups, scores = scores.shape, maxima.shape[1], by_rows(scores)
    assert k <= m
    if max(n_groups, min(m, k * GROUP)) > WIDEST:
        return (scores.abs() if signed else scores).topk(k, dim=-1, sorted=False).indices.sort(-1).values
    out = scores.new_empty(n, k, dtype=torch.int64)
    if not out.numel():
        return out
    with torch.cuda.device_of(scores):
        if n_groups <= k:
            _rank(scores, out, out, m, k, grouped=False, lanes=m, signed=signed)
        else:
            groups = out.new_empty(n, k, dtype=torch.int32)
            _rank(maxima, groups, groups, n_groups, k, grouped=False, lanes=n_groups, signed=signed)
            _rank(scores, groups, out, m, k, grouped=True, lanes=k * GROUP, signed=signed)
    return out


def places_above(
    scores: BFloat16[Tensor, "n m"], maxima: BFloat16[Tensor, "n groups"], bar: float
) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
    """Places in the flattened `[n, m]`, ascending, and sizes in float32 of the scores that exceed `bar`, itself rounded
    to bfloat16.

    Only members of groups whose maxima do are read. The host waits twice, for the number of groups and of places.
    """
    m, n_groups, scores = scores.shape[1], maxima.shape[1], by_rows(scores)
    bar = float(torch.tensor(bar, dtype=torch.bfloat16, device="cpu"))
    groups = (maxima > bar).view(-1).nonzero().view(-1)
    counts = torch.empty_like(groups, dtype=torch.int32)
    places, values = groups.new_empty(0), scores.new_empty(0, dtype=torch.float32)
    if not len(groups):
        return places, values
    grid = (triton.cdiv(len(groups), _GROUPS),)
    sizes = (bar, len(groups), m, scores.stride(0), n_groups)
    with torch.cuda.device_of(scores):
        _members[grid](scores, groups, counts, places, values, *sizes, GROUP=GROUP, GROUPS=_GROUPS, WRITE=False)
        ends = counts.cumsum(0)
        places, values = groups.new_empty(int(ends[-1])), values.new_empty(int(ends[-1]))
        _members[grid](scores, groups, ends, places, values, *sizes, GROUP=GROUP, GROUPS=_GROUPS, WRITE=True)
    return places, values


def _rank(
    values: Tensor, groups: Tensor, out: Tensor, m: int, k: int, *, grouped: bool, lanes: int, signed: bool
) -> None:
    lanes = max(16, triton.next_power_of_2(lanes))
    choices = {"GROUPED": grouped, "GROUP": GROUP, "LANES": lanes, "SIGNED": signed}
    warps = max(1, min(16, lanes // 512))
    _pick[len(values),](values, groups, out, m, k, values.stride(0), **choices, num_warps=warps)


def by_rows(table: Tensor) -> Tensor:
    """`table` with the entries of a row side by side."""
    return table if table.stride(1) == 1 else table.contiguous()
