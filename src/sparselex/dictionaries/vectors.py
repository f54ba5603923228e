"""Rows and scales: the small sums over vectors that several types share."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.ranks import ALONE, Ranks


def largest_positive(pre: Float[Tensor, "n m"], k: int, ranks: Ranks = ALONE) -> Float[Tensor, "n m"]:
    """`pre` with all but the k largest of each row, and all that are negative, at 0; of processes that share the
    latents, each gets its own of the k largest of all."""
    if ranks.n_latents > 1:
        best = F.pad(pre, (0, max(0, k - pre.shape[1]))).topk(k, dim=-1).values
        least = ranks.gather_latents(best).topk(k, dim=-1).values[:, -1:]
        return torch.where(pre >= least, pre, 0).relu()
    kept = pre.topk(min(k, pre.shape[1]), dim=-1)
    return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())


def unit_rows(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows at norm 1; those of zeros stay."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


def spread(scales: Sequence[float], parts: Sequence[int], like: Tensor) -> Float[Tensor, " d"]:
    """Each site's factor at each of its coordinates, in the precision and on the device of `like`."""
    values = [scale for scale, width in zip(scales, parts, strict=True) for _ in range(width)]
    return torch.tensor(values, dtype=like.dtype, device=like.device)
