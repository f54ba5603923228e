"""Centroids of k-means as a control dictionary."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.controls.basis import Basis, check_sample, pursued
from sparselex.dictionaries.controls.given import Given

_CHUNK_SCORES = 2**26
"""Scores of tokens by centroids computed at a time, 256 MiB in float32."""

_TOKENS_PER_START = 4
"""Tokens per centroid among which the starts are drawn; the passes over all tokens do the rest."""

_LEAST_SAMPLE = 4096
_CHUNK_TOKENS = 65_536


def make_kmeans(given: Given) -> Basis:
    """Centroids of the activations."""
    return centroid_rows(given.sample(), given.d_sae, given.k, given.generator, n_steps=given.n_steps)


@torch.no_grad()
def centroid_rows(
    x: Float[Tensor, "n d_in"],
    d_sae: int,
    k: int,
    generator: torch.Generator,
    *,
    n_steps: int = 8,
    n_iterations: int = 20,
) -> Basis:
    """Directions from the mean of a sample to its `d_sae` centroids by k-means: what clusters alone tell. Codes by
    pursuit.

    A centroid that is the mean itself has no direction and is left out. `n_iterations` bounds the passes over the
    sample, see `kmeans`, which also says what is refused.
    """
    mean = x.mean(0, dtype=torch.float64).to(x.dtype)
    rows = kmeans(x, d_sae, generator, n_iterations=n_iterations) - mean
    norms = rows.norm(dim=-1)
    apart = norms > 1e-6 * norms.max()
    if not apart.any():
        raise UserError("The only centroid is the mean.", "centroids with a direction", "raise d_sae.")
    return pursued("kmeans", rows[apart], mean, k, n_steps=n_steps)


@torch.no_grad()
def kmeans(
    x: Float[Tensor, "n d_in"], n_centroids: int, generator: torch.Generator, *, n_iterations: int = 20
) -> Float[Tensor, "n_centroids d_in"]:
    """Centroids of a sample, in its unit.

    Starts are greedy k-means++ on a random part of the sample (Arthur and Vassilvitskii 2007), then Lloyd's passes over
    all of it, at most `n_iterations`, until no token changes its centroid. A centroid that lost its tokens moves to the
    token farthest from its own. Raises `UserError` unless `1 <= n_centroids <= n`, and for a sample that is not finite
    or has fewer distinct tokens than centroids.
    """
    n = len(x)
    if not 1 <= n_centroids <= n:
        raise UserError(
            f"{n_centroids} centroids were asked for from a sample of {n} tokens.",
            f"a number of centroids from 1 to {n}",
            "train fewer latents or read more tokens (`moment_rows`).",
        )
    check_sample(x)
    mean = x.mean(0, dtype=torch.float64).to(x.dtype)
    centred = x - mean  # distances by products lose digits far from the origin
    return _lloyd(centred, _starts(centred, n_centroids, generator), n_iterations) + mean


def _starts(x: Tensor, n_centroids: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: each start is the best of a few tokens drawn with odds by squared distance from the starts so
    far."""
    n_sample = max(_TOKENS_PER_START * n_centroids, _LEAST_SAMPLE)
    sample = x[torch.randperm(len(x), generator=generator, device=generator.device)[:n_sample]].double()
    squares = sample.square().sum(-1)
    n_candidates = 2 + int(math.log(n_centroids))  # Arthur and Vassilvitskii's own choice
    nearest = torch.full_like(squares, torch.inf)
    candidates = torch.randint(len(sample), (1,), generator=generator, device=generator.device)
    chosen: list[Tensor] = []
    while True:
        both = squares[:, None] + squares[candidates]
        distances = both - 2 * (sample @ sample[candidates].T)
        # Of equal tokens rounding leaves a distance that must not be drawn: the start would be taken twice.
        distances = torch.where(distances > 1e-12 * both, distances, 0).minimum(nearest[:, None])
        best = distances.sum(0).argmin()
        chosen.append(candidates[best])
        nearest = distances[:, best]
        if len(chosen) == n_centroids:
            return sample[torch.stack(chosen)].to(x.dtype)
        if not nearest.any():
            raise UserError(
                f"The sample of activations has only {len(chosen)} distinct tokens among {len(sample)} drawn.",
                f"at least as many as the {n_centroids} centroids",
                "train fewer latents, or read more or other text.",
            )
        candidates = torch.multinomial(nearest, n_candidates, replacement=True, generator=generator)


def _lloyd(x: Tensor, points: Tensor, n_iterations: int) -> Tensor:
    """Centroids after at most `n_iterations` passes of assignment and mean."""
    n_centroids, before = len(points), None
    for _ in range(n_iterations):
        nearest, distances = _nearest(x, points)
        if before is not None and torch.equal(nearest, before):
            break
        sums = points.new_zeros(points.shape, dtype=torch.float64)
        for rows, owners in zip(x.split(_CHUNK_TOKENS), nearest.split(_CHUNK_TOKENS)):
            sums.index_add_(0, owners, rows.double())
        counts = torch.bincount(nearest, minlength=n_centroids)
        points = (sums / counts.clamp_min(1)[:, None]).to(x.dtype)
        lost = counts == 0
        points[lost] = x[distances.topk(int(lost.sum())).indices]
        before = nearest
    return points


@torch.no_grad()
def _nearest(
    x: Float[Tensor, "n d_in"], points: Float[Tensor, "n_centroids d_in"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest of `points` for each token and its squared distance, by one product a chunk."""
    half_squares = points.square().sum(-1) / 2
    parts = [
        torch.addmm(-half_squares, part, points.T).max(-1) for part in x.split(max(1, _CHUNK_SCORES // len(points)))
    ]
    scores, places = torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
    return places, (x.square().sum(-1) - 2 * scores).clamp_min_(0)
