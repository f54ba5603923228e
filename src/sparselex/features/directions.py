"""What follows from decoder directions alone: logit effects and neighbours. Arrays in, arrays out."""

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
    """The `n` latents with the largest cosine to each latent's row, itself left out. Of equals the lower number comes
    first, as among the coordinates, which are all at right angles to each other."""
    unit = unit_rows(rows)
    n = min(n, len(unit) - 1)
    found, cosines = _none(len(unit), n, unit), unit.new_empty(_CHUNK, len(unit))
    for start in range(0, len(unit), _CHUNK):
        part = unit[start : start + _CHUNK]
        near = torch.mm(part, unit.T, out=cosines[: len(part)])
        own = torch.arange(len(part))
        near[own, start + own] = -torch.inf
        _put(found, start, *_largest(near, n))
    return found


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
    raised, lowered = (_none(len(W_dec), n, W_dec) for _ in range(2))
    product = W_dec.new_empty(_CHUNK, unembed.shape[1])
    for start in range(0, len(W_dec), _CHUNK):
        part = W_dec[start : start + _CHUNK]
        logits = torch.mm(part if write is None else part @ write, unembed, out=product[: len(part)])
        logits -= logits[:, ::every].median(-1, keepdim=True).values
        _put(raised, start, *logits.topk(n, dim=-1))
        _put(lowered, start, *logits.topk(n, dim=-1, largest=False))
    return Effects(raised, lowered)


# Into arrays that were there before: small results that stay between large ones that go leave holes in the heap into
# which no next large one fits, and 100,000 rows of 16 numbers took 24 GB.


def _none(n_rows: int, n: int, like: Tensor) -> Ranked:
    return Ranked(like.new_empty(n_rows, n, dtype=torch.int64), like.new_empty(n_rows, n))


def _put(found: Ranked, start: int, values: Tensor, places: Tensor) -> None:
    rows = slice(start, start + len(values))
    found.places[rows], found.value[rows] = places, values


def _largest(scores: Float[Tensor, "n m"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The `k` largest of each row and their places, of which there are more; of equals the one that comes first."""
    values, places = scores.topk(k + 1, dim=-1)
    # Which of several equals at the end `topk` takes it does not say: those rows are chosen anew.
    tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0] if k else places.new_empty(0)
    places = places[:, :k].sort(dim=-1).values
    if len(tied):
        rows, bar = scores[tied], values[tied, k, None]
        above, equal = ~(rows <= bar), rows == bar
        taken = above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= k - above.sum(-1, keepdim=True)))
        places[tied] = taken.nonzero()[:, 1].reshape(-1, k)
    values, order = scores.gather(-1, places).sort(dim=-1, descending=True, stable=True)
    return values, places.gather(-1, order)
