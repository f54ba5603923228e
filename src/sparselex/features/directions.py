"""What follows from decoder directions alone: logit effects and neighbours. Arrays in, arrays out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.vectors import unit_rows

_CHUNK = 512

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
    parts = list(unit_rows(rows).split(_CHUNK))
    starts = range(0, len(rows), _CHUNK)
    best = [Ranked(rows.new_empty(len(part), 0, dtype=torch.int64), rows.new_empty(len(part), 0)) for part in parts]
    n = min(n, len(rows) - 1)
    for i, left in enumerate(parts):
        for j, right in enumerate(parts[i:], i):
            # Every product serves the latents of both chunks: half the work of multiplying all with all.
            cosines = left @ right.T
            if i == j:
                cosines.fill_diagonal_(-torch.inf)
            else:
                best[j] = _better(best[j], cosines.T, starts[i], n)
            best[i] = _better(best[i], cosines, starts[j], n)
    return Ranked(torch.cat([one.places for one in best]), torch.cat([one.value for one in best]))


def _better(best: Ranked, value: Tensor, start: int, n: int) -> Ranked:
    """The best of what was found and of these columns, of which the first is latent `start`."""
    found = value.topk(min(n, value.shape[1]), dim=-1)
    places = torch.cat([best.places, found.indices + start], dim=-1)
    kept = torch.cat([best.value, found.values], dim=-1).topk(min(n, places.shape[1]), dim=-1)
    return Ranked(places.gather(-1, kept.indices), kept.values)


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
