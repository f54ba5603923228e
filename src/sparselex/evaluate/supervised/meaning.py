"""Test 3, interpretability: which values of attributes latents stand for, by where they are active (Makelov, Lange and
Nanda 2024, arXiv:2405.08366, section 4.3), with what the paper lacks: the same of random directions that fire as often.
Arrays in, arrays out.

How strongly a latent is active does not count, and a latent that is active on half of the prompts of a value and on no
other has an F1 of 0.67: the measure is strict about single latents. A latent that is always active has 2p / (1 + p) for
a value that p of the prompts have."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MOST_TOGETHER = 10
"""Values of which a union is tried for one latent."""

_ROUNDING = 1e-6
"""Values along a direction that differ by at most so much of the largest count as one."""


def f1_of(active: Bool[Tensor, "n d_sae"], labels: Int[Tensor, " n"], n_values: int) -> Float[Tensor, "d_sae n_values"]:
    """F1 of every latent for every value of one attribute: 2 |F and P| / (|F| + |P|), where F are the prompts on which
    it is active and P those with the value. 0 where it is never active, or no prompt has the value."""
    fires = active.float()
    has = torch.nn.functional.one_hot(labels, n_values).float()
    both = fires.T @ has
    return 2 * both / (fires.sum(0)[:, None] + has.sum(0)).clamp_min(1)


def f1_of_unions(
    active: Bool[Tensor, "n d_sae"], labels: Int[Tensor, " n"], n_values: int, known: Float[Tensor, "d_sae n_values"]
) -> Float[Tensor, " d_sae"]:
    """F1 of every latent for the best union of up to `MOST_TOGETHER` values, taken in the order of their F1 `known`
    from other prompts. How many, these other prompts do not say: the best of ten looks a little better than it is, and
    so does its null."""
    fires = active.float()
    has = torch.nn.functional.one_hot(labels, n_values).float()
    both, sizes = fires.T @ has, has.sum(0)
    order = known.argsort(dim=-1, descending=True, stable=True)[:, :MOST_TOGETHER]
    hits, size = both.gather(-1, order).cumsum(-1), sizes[order].cumsum(-1)
    return (2 * hits / (fires.sum(0)[:, None] + size).clamp_min(1)).amax(-1)


def at_rates(
    x: Float[Tensor, "n d"], rates: Float[Tensor, " d_sae"], generator: torch.Generator
) -> tuple[Float[Tensor, "d_sae d"], Float[Tensor, " d_sae"]]:
    """Random directions, every one as likely as any other, each with a threshold above which as large a share of these
    values lies along it as `rates` says: the null of all that hangs on firing. Of values that lie at one place all are
    above it or none, whichever is nearer to that share."""
    draws = torch.randn(len(rates), x.shape[1], generator=generator)
    rows = draws / draws.norm(dim=-1, keepdim=True)
    # NumPy sorts rows of float32 several times as fast as PyTorch columns.
    along = torch.from_numpy(np.sort((rows @ (x - x.mean(0)).T).numpy(), axis=1)[:, ::-1].T.copy())
    n_above = _apart(along, (rates * len(x)).round().long().clamp(0, len(x)))
    padded = torch.cat([torch.full_like(along[:1], torch.inf), along, torch.full_like(along[:1], -torch.inf)])
    each = torch.arange(len(rates))
    thresholds = (padded[n_above, each] + padded[n_above + 1, each]) / 2
    thresholds = torch.where(n_above == 0, torch.inf, torch.where(n_above == len(x), -torch.inf, thresholds))
    return rows, thresholds


def _apart(along: Float[Tensor, "n m"], n_above: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Of sorted columns the numbers nearest to these that part no values which are one but for rounding."""
    each = torch.arange(along.shape[1])
    last = along[(n_above - 1).clamp_min(0), each]
    near = _ROUNDING * along.abs().amax(0)
    fewer, more = (along > last + near).sum(0), (along >= last - near).sum(0)
    return torch.where(n_above == 0, 0, torch.where(n_above - fewer < more - n_above, fewer, more))


def fires_above(
    x: Float[Tensor, "n d"], mean: Float[Tensor, " d"], rows: Float[Tensor, "m d"], thresholds: Float[Tensor, " m"]
) -> Bool[Tensor, "n m"]:
    """Where values lie further along directions than their thresholds."""
    return (x - mean) @ rows.T > thresholds
