"""Which latents are kept: the largest contributions of each token, or of all tokens of a batch together, and the
threshold that stands for the latter after training. Scores are looked through block by block, each as it comes from the
product."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.kinds import Gradients, SelectionDtype
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import Block, block_shape, kernels_for, nth_largest, scores_above

_COARSE_MARGIN = 0.97
"""What the bfloat16 product puts above this share of its own cut is ranked exactly; its largest error among 17 million
scores of width 512 was 1 % of the cut."""

_SAMPLE_TOKENS = 64

_N_IN_GROUP = 8
"""Latents of which only the largest score is ranked at first."""

_KEPT_SCORES = 2**26
"""Scores that lie in memory while latents are ranked token by token, 256 MiB in float32."""


@runtime_checkable
class Scores(Protocol):
    """The length of every latent's contribution, by a product in a precision of its own, and exactly at chosen
    places."""

    norms: Tensor
    """Length of what a unit activation of each latent writes, `[d_sae]`."""

    dtype: torch.dtype
    """Precision of the product."""

    def __call__(self, x: Tensor) -> Tensor:
        """All scores `[n, d_sae]`."""

    def blocks(self, x: Tensor, *, into: Tensor | None = None) -> Iterator[Block]:
        """The same block by block; all of them kept where there is room for them in `into`."""

    def at(self, x: Tensor, rows: Tensor, indices: Tensor, gradients: Gradients = "auto") -> Tensor:
        """The scores at `[rows, indices]`, tokens ascending."""


@runtime_checkable
class BatchChoice(Protocol):
    """Fields of the configurations that choose over a batch."""

    @property
    def k(self) -> int:
        """Latents kept per token on average."""

    @property
    def selection(self) -> SelectionDtype:
        """Precision of the product that finds them."""

    @property
    def threshold_rate(self) -> float:
        """Rate at which the threshold for single tokens follows."""


@torch.no_grad()
def largest_of_tokens(
    scores: Scores, x: Float[Tensor, "n d_in"], k: int, *, signed: bool = False
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest scores of each token, or with `signed` the largest in size, in no order, and their latents.

    They lie in the k groups of latents with the largest maxima. Maxima are taken from each block while it is in the
    cache, so that of all other scores nothing is read again.
    """
    if len(x) and scores.dtype == torch.bfloat16 and (kernels := kernels_for(x)):
        parts = []
        for block in scores.blocks(x):  # of all latents, on a GPU
            maxima = kernels.group_maxima(block.scores, signed=signed)
            latents = kernels.largest_places(block.scores, maxima, k, signed=signed)
            parts.append((block.scores.gather(-1, latents), latents))
    else:
        n_tokens = min(block_shape(x, len(scores.norms))[0], max(1, _KEPT_SCORES // len(scores.norms)))
        parts = [_largest_of_part(scores, part, k, signed) for part in x.split(n_tokens)]
    return torch.cat([values for values, _ in parts]), torch.cat([latents for _, latents in parts])


@torch.no_grad()
def largest_of_batch(
    new_scores: Callable[[torch.dtype | None], Scores],
    x: Float[Tensor, "n d_in"],
    k: int,
    *,
    threshold: float,
    selection: SelectionDtype,
    gradients: Gradients,
    ranks: Ranks = ALONE,
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"], Float[Tensor, " d_sae"]]:
    """Places in the flattened `[n, d_sae]`, ascending, and sizes of the `n k` largest positive contributions; and the
    sizes of rows.

    Of several processes (`ranks`) each gets its own part of what all of them keep together.

    A library top-k over the whole batch takes longer than the encoder's product. The running `threshold` (0 where there
    is none yet) tells nearly where the cut will be, so only what lies above a lower bar is ranked; where too little
    does, everything positive is.
    """
    n_keep = int(ranks.over_data(torch.tensor(len(x), device=x.device))) * k
    if not n_keep:
        return x.new_empty(0, dtype=torch.int64), x.new_empty(0), new_scores(None).norms
    if selection == "bfloat16":
        scores = new_scores(torch.bfloat16)
        places, values = above(scores, x, _bar(scores, x, k, threshold, ranks), n_keep=n_keep, margin=_COARSE_MARGIN)
        if ranks.count(places) >= n_keep:
            places = places[values >= _COARSE_MARGIN * ranks.nth_largest(values, n_keep)]
            d_sae = len(scores.norms)
            exact = scores.at(x, places // d_sae, places % d_sae, gradients)
            keep = ranks.largest(exact, n_keep)
            return places[keep], exact[keep], scores.norms
    scores = new_scores(None)
    bar = _bar(scores, x, k, threshold, ranks)
    places, values = above(scores, x, bar, n_keep=n_keep)
    if ranks.count(places) < n_keep and bar > 0:
        places, values = above(scores, x, 0.0, n_keep=n_keep)
    keep = ranks.largest(values, n_keep)
    return places[keep], values[keep], scores.norms


@torch.no_grad()
def batch_codes(
    new_scores: Callable[[torch.dtype | None], Scores],
    x: Float[Tensor, "n d_in"],
    config: BatchChoice,
    threshold: Float[Tensor, ""],
    *,
    gradients: Gradients,
    ranks: Ranks = ALONE,
) -> Codes:
    """Codes of what `largest_of_batch` keeps; the running `threshold` follows it."""
    k, bar, selection = config.k, float(threshold), config.selection
    places, kept, norms = largest_of_batch(
        new_scores, x, k, threshold=bar, selection=selection, gradients=gradients, ranks=ranks
    )
    follow(threshold, kept, config.threshold_rate, ranks)
    d_sae = len(norms)
    rows, indices = places // d_sae, places % d_sae
    return Codes.from_pairs(rows, indices, kept / norms[indices], len(x), d_sae)


@torch.no_grad()
def above(
    scores: Scores, x: Float[Tensor, "n d_in"], bar: float, *, n_keep: int | None = None, margin: float = 1.0
) -> tuple[Int[Tensor, " found"], Float[Tensor, " found"]]:
    """Places in the flattened `[n, d_sae]`, ascending, and scores of what exceeds `bar` (which is not negative).

    Of many more than `n_keep` only such are returned as reach `margin` times the `n_keep`-th largest: what lies under
    that when some blocks have been seen is dropped on the way, since it cannot be among the largest of the whole batch.
    """
    d_sae, n_found, is_sorted = len(scores.norms), 0, True
    places, values = [x.new_empty(0, dtype=torch.int64)], [x.new_empty(0)]
    for block in scores.blocks(x):
        (found, sizes), width = scores_above(block.scores, bar), block.scores.shape[1]
        # In a row of all latents those after and before the block's lie between two of its rows.
        places.append(found + (found // width * (d_sae - width) + (block.token * d_sae + block.latent)))
        values.append(sizes.to(x.dtype))
        n_found += len(found)
        is_sorted &= width == d_sae
        if n_keep is not None and n_found > 4 * n_keep:
            known = torch.cat(values)
            bar = max(bar, margin * float(nth_largest(known, n_keep)))
            keep = known >= bar
            places, values = [torch.cat(places)[keep]], [known[keep]]
            n_found = len(values[0])
    if is_sorted:
        return torch.cat(places), torch.cat(values)
    flat, order = torch.cat(places).sort()
    return flat, torch.cat(values)[order]


@torch.no_grad()
def follow(threshold: Float[Tensor, ""], kept: Float[Tensor, " kept"], rate: float, ranks: Ranks = ALONE) -> None:
    """Move the running threshold towards the smallest of the contributions kept; to it, where there was none before."""
    if n_kept := ranks.count(kept):
        smallest = float(kept.min() if ranks.is_alone else ranks.nth_largest(kept, n_kept))
        threshold += (rate if float(threshold) > 0 else 1.0) * (smallest - threshold)


def _bar(scores: Scores, x: Tensor, k: int, threshold: float, ranks: Ranks) -> float:
    """A little less than where the cut will be, the same for all processes: by the running threshold, or before there
    is one by a few tokens."""
    if threshold > 0:
        return 0.8 * threshold
    sample = scores(x[:_SAMPLE_TOKENS]).float().view(-1)
    n_above = min(len(sample), 2 * k * _SAMPLE_TOKENS)
    return ranks.least(max(0.0, float(nth_largest(sample, n_above))) if n_above else 0.0, x.device)


def _largest_of_part(scores: Scores, x: Tensor, k: int, signed: bool) -> tuple[Tensor, Tensor]:
    """`largest_of_tokens` of tokens that fit into one block."""
    n, d_sae = len(x), len(scores.norms)
    if not n or d_sae % _N_IN_GROUP or d_sae < 8 * _N_IN_GROUP * k:
        found = scores(x)
        latents = (found.abs() if signed else found).topk(k, dim=-1, sorted=False).indices
        return found.gather(-1, latents), latents
    kept, maxima, start, width = _with_maxima(scores, x, signed)
    groups = maxima.topk(k, dim=-1, sorted=False).indices
    owner = torch.bucketize(groups * _N_IN_GROUP, start, right=True) - 1
    start, width = start[owner], width[owner]
    # A group's first member in its block, and how far apart the others follow.
    first, apart = groups - start // _N_IN_GROUP, width // _N_IN_GROUP
    places = (n * start + torch.arange(n, device=x.device)[:, None] * width + first)[:, None]
    places = places + torch.arange(_N_IN_GROUP, device=x.device)[:, None] * apart[:, None]
    members = kept[places.view(n, -1)]
    best = (members.abs() if signed else members).topk(k, dim=-1, sorted=False).indices
    group = best % k
    latents = (start + first).gather(-1, group) + best // k * apart.gather(-1, group)
    return members.gather(-1, best), latents


def _with_maxima(scores: Scores, x: Tensor, signed: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All scores, block after block; the maxima `[n, groups]` of their groups; and of each block its first latent and
    its width."""
    n, d_sae = len(x), len(scores.norms)
    kept = x.new_empty(n * d_sae, dtype=scores.dtype)
    maxima = x.new_empty(n, d_sae // _N_IN_GROUP, dtype=scores.dtype)
    starts, widths = [], []
    for block in scores.blocks(x, into=kept):
        first, n_groups = block.latent // _N_IN_GROUP, block.scores.shape[1] // _N_IN_GROUP
        sizes = block.scores.abs() if signed else block.scores
        # Members of a group lie apart by as many latents as there are groups in the block: such maxima are of whole
        # vectors.
        torch.amax(sizes.view(n, _N_IN_GROUP, n_groups), 1, out=maxima[:, first : first + n_groups])
        starts.append(block.latent)
        widths.append(block.scores.shape[1])
    start, width = torch.tensor([starts, widths], device=x.device)
    return kept, maxima, start, width
