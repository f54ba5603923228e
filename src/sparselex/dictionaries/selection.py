"""Which latents a batch keeps: the largest contributions of all its tokens together, and the threshold that stands for them later."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse import Gradients, Selection, nth_largest, places_above

_COARSE_MARGIN = 0.97
"""What the bfloat16 product puts above this share of its own cut is ranked exactly; its largest error among 17 million scores of
width 512 was 1 % of the cut."""

_SAMPLE_TOKENS = 64


@runtime_checkable
class Scores(Protocol):
    """The length of every latent's contribution, by a product in a precision of its own, and exactly at chosen places."""

    norms: Tensor
    """Length of what a unit activation of each latent writes, `[d_sae]`."""

    def __call__(self, x: Tensor) -> Tensor:
        """All scores `[n, d_sae]`."""

    def chunks(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """First token and scores of one part of the batch after another."""

    def at(self, x: Tensor, rows: Tensor, indices: Tensor, gradients: Gradients = "auto") -> Tensor:
        """The scores at `[rows, indices]`, tokens ascending."""


@torch.no_grad()
def largest_of_batch(
    new_scores: Callable[[torch.dtype | None], Scores],
    x: Float[Tensor, "n d_in"],
    k: int,
    *,
    threshold: float,
    selection: Selection,
    gradients: Gradients,
    ranks: Ranks = ALONE,
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"], Float[Tensor, " d_sae"]]:
    """Places in the flattened `[n, d_sae]`, ascending, and sizes of the `n k` largest positive contributions; and the sizes of rows.

    Of several processes (`ranks`) each gets its own part of what all of them keep together.

    A library top-k over the whole batch takes longer than the encoder's product. The running `threshold` (0 where there is none yet) tells
    nearly where the cut will be, so only what lies above a lower bar is ranked; where too little does, everything positive is.
    """
    n_keep = int(ranks.over_data(torch.tensor(len(x), device=x.device))) * k
    if selection == "bfloat16":
        scores = new_scores(torch.bfloat16)
        places, values = _above(scores, x, _bar(scores, x, k, threshold), n_keep, _COARSE_MARGIN)
        if ranks.count(places) >= n_keep:
            places = places[values >= _COARSE_MARGIN * ranks.nth_largest(values, n_keep)]
            d_sae = len(scores.norms)
            exact = scores.at(x, places // d_sae, places % d_sae, gradients)
            keep = ranks.largest(exact, n_keep)
            return places[keep], exact[keep], scores.norms
    scores = new_scores(None)
    bar = _bar(scores, x, k, threshold)
    places, values = _above(scores, x, bar, n_keep)
    if ranks.count(places) < n_keep and float(ranks.total(torch.tensor(bar, device=x.device))) > 0:
        places, values = _above(scores, x, 0.0, n_keep)
    keep = ranks.largest(values, n_keep)
    return places[keep], values[keep], scores.norms


@torch.no_grad()
def follow(threshold: Float[Tensor, ""], kept: Float[Tensor, " kept"], rate: float, ranks: Ranks = ALONE) -> None:
    """Move the running threshold towards the smallest of the contributions kept; to it, where there was none before."""
    if n_kept := ranks.count(kept):
        smallest = float(kept.min() if ranks.is_alone else ranks.nth_largest(kept, n_kept))
        threshold += (rate if float(threshold) > 0 else 1.0) * (smallest - threshold)


def _bar(scores: Scores, x: Tensor, k: int, threshold: float) -> float:
    """A little less than where the cut will be: by the running threshold, or before there is one by a few tokens."""
    if threshold > 0:
        return 0.8 * threshold
    sample = scores(x[:_SAMPLE_TOKENS]).float().view(-1)
    n_above = min(len(sample), 2 * k * _SAMPLE_TOKENS)
    return max(0.0, float(nth_largest(sample, n_above))) if n_above else 0.0


def _above(scores: Scores, x: Tensor, bar: float, n_keep: int, margin: float = 1.0) -> tuple[Tensor, Tensor]:
    """Places in the flattened `[n, d_sae]` and scores of what exceeds `bar`, at least all of the `n_keep` largest.

    Where there are many more, what lies under `margin` times the `n_keep`-th largest so far is dropped between chunks: it cannot
    be among the largest of the whole batch.
    """
    places, values, d_sae = x.new_empty(0, dtype=torch.int64), x.new_empty(0), len(scores.norms)
    for start, part in scores.chunks(x):
        flat = part.view(-1)
        found = places_above(flat, bar)
        places = torch.cat([places, found + start * d_sae])
        values = torch.cat([values, flat[found].to(values.dtype)])
        del flat, part  # or two chunks lie in memory while the next is computed
        if len(places) > 4 * n_keep:
            bar = max(bar, margin * float(nth_largest(values, n_keep)))
            keep = values >= bar
            places, values = places[keep], values[keep]
    return places, values
