"""What follows from decoder directions alone: logit effects and neighbours. Arrays in, arrays out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.vectors import unit_rows

_CHUNK = 128
"""Rows whose products with all others are in memory at a time: 8 MB for 16,384 of them."""

_MEDIAN_OF = 512


class Ranked(NamedTuple):
    """The best of each row, best first."""

    places: Int[Tensor, "n m"]
    value: Float[Tensor, "n m"]


class Effects(NamedTuple):
    """The tokens whose logits each direction moves most."""

    raised: Ranked
    lowered: Ranked


def neighbours(rows: Float[Tensor, "d_sae d"], n: int) -> Ranked:
    """The `n` latents with the largest cosine to each latent's row, itself left out."""
    unit = unit_rows(rows)
    n = min(n, len(unit) - 1)
    parts = []
    for start in range(0, len(unit), _CHUNK):
        cosines = unit[start : start + _CHUNK] @ unit.T
        own = torch.arange(len(cosines))
        cosines[own, start + own] = -torch.inf
        parts.append(cosines.topk(n, dim=-1))
    return _joined(parts)


def logit_effects(
    W_dec: Float[Tensor, "d_sae d_out"],
    write: Float[Tensor, "d_out d_model"] | None,
    unembed: Float[Tensor, "d_model n_vocab"],
    n: int,
) -> Effects:
    """The `n` tokens whose logits each direction raises most, and those it lowers most, relative to the median token:
    the same added to all logits changes no prediction.

    The median is that of all tokens up to 1,023 of them, of more that of 512 to 1,023 at even distances."""
    n, every = min(n, unembed.shape[1]), max(1, unembed.shape[1] // _MEDIAN_OF)
    raised, lowered = [], []
    for directions in W_dec.split(_CHUNK):
        logits = (directions if write is None else directions @ write) @ unembed
        logits -= logits[:, ::every].median(-1, keepdim=True).values
        raised.append(logits.topk(n, dim=-1))
        lowered.append(logits.topk(n, dim=-1, largest=False))
    return Effects(_joined(raised), _joined(lowered))


def _joined(parts: Sequence[torch.return_types.topk]) -> Ranked:
    return Ranked(torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts]))
