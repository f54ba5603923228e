"""Directions as a dictionary: each a latent by itself, active where its product with a token is large."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.types.jumprelu import JumpReLU, JumpReLUConfig
from sparselex.dictionaries.types.topk import TopK, TopKConfig

_ROWS_AT_ONCE = 256


class Levels(NamedTuple):
    """Above which values directions are active."""

    bias: Float[Tensor, " n"]
    """What is added to the product of each direction with a token."""

    threshold: Float[Tensor, " n"]
    """At 0 or above: what is above it is active."""


@torch.no_grad()
def levels(
    rows: Float[Tensor, "n d_in"],
    bias: Float[Tensor, " n"] | None,
    x: Float[Tensor, "n_tokens d_in"],
    active_share: float | None,
) -> Levels:
    """The values above which each direction is active on `active_share` of the tokens `x`: those where it is largest.
    None is every token above 0. Without a `bias` a value is how far a token lies from the mean of all along the row.

    Nothing below 0 is active, so a share may be missed from below; of equal values at the threshold none is active.
    """
    bias = -(rows @ x.mean(0)) if bias is None else bias
    if active_share is None:
        return Levels(bias, torch.zeros_like(bias))
    n_active = min(len(x) - 1, max(1, round(active_share * len(x))))
    found = [
        (x @ part.T + added).topk(n_active + 1, dim=0).values[-1]
        for part, added in zip(rows.split(_ROWS_AT_ONCE), bias.split(_ROWS_AT_ONCE), strict=True)
    ]
    return Levels(bias, torch.cat(found).clamp_min(0))


@torch.no_grad()
def along(
    rows: Float[Tensor, "n d_in"],
    level: Levels,
    mean: Float[Tensor, " d_in"],
    widths: tuple[int, ...],
) -> JumpReLU:
    """A dictionary whose latent i is `x · row_i + bias_i` where that is above its threshold, and else 0.

    It writes `row_i / |row_i|²` each, so that without a bias a latent's contribution is the part of the token along the
    row. `mean` stands for what no direction says; `widths` are those of the sites side by side.
    """
    n, d_in = rows.shape
    parts = widths if len(widths) > 1 else ()
    found = JumpReLU(JumpReLUConfig(d_in=d_in, d_sae=n, parts=parts))
    written = rows / rows.square().sum(-1, keepdim=True)
    found.W_enc.copy_(rows.T)
    found.W_dec.copy_(written)
    found.b_dec.copy_(mean)
    found.b_enc.copy_(level.bias + rows @ mean)  # tokens are centred by b_dec before they are coded
    found.threshold.copy_(level.threshold * written.norm(dim=-1))
    return found


@torch.no_grad()
def largest_along(
    rows: Float[Tensor, "n d_in"],
    bias: Float[Tensor, " n"],
    k: int,
    mean: Float[Tensor, " d_in"],
    widths: tuple[int, ...],
) -> TopK:
    """A dictionary whose latent i is `x · row_i + bias_i` where that is above 0 and among the `k` largest of the token,
    and else 0; `rows` have unit norm. `mean` and `widths` as in `along`."""
    n, d_in = rows.shape
    found = TopK(TopKConfig(d_in=d_in, d_sae=n, k=min(k, n), parts=widths if len(widths) > 1 else ()))
    found.W_enc.copy_(rows.T)
    found.W_dec.copy_(rows)
    found.b_dec.copy_(mean)
    found.b_enc.copy_(bias + rows @ mean)  # tokens are centred by b_dec before they are coded
    return found
