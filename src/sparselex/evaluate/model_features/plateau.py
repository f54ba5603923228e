"""How far an activation can be moved before predictions notice: around real activations, around ones that only vary
like them, and along latents.

KL(l) = E KL(p(a) || p(a + l u)) over growing lengths l, u drawn as activations differ, rises late where a model is flat
around what it meets (Heimersheim 2024; Janiak et al. 2024, arXiv:2409.17113). Told is the length at which it is half of
what it is at the greatest length, around real activations over that around Gaussian ones with their mean and
covariance: 1 where the model makes nothing of what activations are beyond that, more where it is flat near real ones.
And the same along latents over that along such directions.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.progress import progress
from sparselex.base.seeds import derive, generator
from sparselex.causal.predictions import changes
from sparselex.evaluate.model_features.asked import LATENTS, Asked, by_group, unit
from sparselex.evaluate.model_features.records import KIND, Curve, Part
from sparselex.evaluate.versions import LOGITS, Versions, in_rows

LENGTHS = np.linspace(0.1, 2, 20)
"""Lengths of steps, in median distances of an activation from the mean."""

_EACH = 4
"""Directions along which curves are averaged at every token."""

_KINDS = ("real, as activations differ", "Gaussian, as activations differ", "real, along latents")
"""What is moved, and along what."""


def plateau(asked: Asked) -> Part:
    """Curves around tokens of the test rows, their half-lengths against each other."""
    tokens, directions = _where(asked)
    positions = asked.test[2][tokens]
    curves = _curves(asked, tokens, directions)
    n_groups, groups = asked.documents.n_groups, asked.groups(positions)
    # Only groups that have tokens are units of the interval.
    sums = by_group(curves.reshape(len(positions), -1), groups, n_groups)[np.unique(groups)]
    means = curves.mean(0)
    shown = [Curve(name=name, x=LENGTHS.tolist(), y=mean.tolist()) for name, mean in zip(_KINDS, means, strict=True)]
    return Part(figures=list(_figures(sums, len(positions))), curves=shown)


def half_length(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[...]`, where curves `[..., n_lengths]` over `LENGTHS` first are half of what they are at the end, a straight
    line taken between lengths and from the origin; NaN for a curve that never leaves 0."""
    end = curves[..., -1:]
    y = np.concatenate([np.zeros_like(end), curves], axis=-1)
    x = np.concatenate([[0.0], LENGTHS])
    over = y >= end / 2
    after = np.where(over[..., 0], 1, over.argmax(-1))[..., None]
    (low, high), (left, right) = (
        (np.take_along_axis(y, after - 1, -1)[..., 0], np.take_along_axis(y, after, -1)[..., 0]),
        (x[after - 1][..., 0], x[after][..., 0]),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = left + (end[..., 0] / 2 - low) / (high - low) * (right - left)
    return np.where(end[..., 0] > 0, found, np.nan)


def _where(asked: Asked) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of tokens, and a few latents `[n, _EACH]` that are active at each of them."""
    active, numbers = asked.active(LATENTS), asked.tokens(asked.config.n_tokens, "plateau")
    wanted = asked.test[2][numbers]
    rng = generator(asked.config.seed, "model features", "plateau", "latents")
    order = np.argsort(active.position, kind="stable")
    first = np.searchsorted(active.position[order], wanted)
    counts = np.searchsorted(active.position[order], wanted, side="right") - first
    kept = np.flatnonzero(counts)
    chosen = [order[first[one] + rng.integers(0, counts[one], size=_EACH)] for one in kept]
    return numbers[kept], np.array(chosen, dtype=np.int64).reshape(-1, _EACH)


def _curves(asked: Asked, tokens: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[n, n_kinds, n_lengths]`, divergences at the token itself, the mean over directions."""
    active, n_lengths, positions = asked.active(LATENTS), len(LENGTHS), asked.test[2][tokens]
    found = np.zeros((len(positions), len(_KINDS), n_lengths))
    rng = torch.Generator().manual_seed(derive(asked.config.seed, "model features", "plateau"))
    fakes = _gaussian(asked, len(positions), rng) - asked.test[1][torch.from_numpy(tokens)]
    which = torch.randint(len(asked.beside), (len(positions), _EACH), generator=rng)
    sign = torch.from_numpy(np.sign(active.value[chosen])).float()[..., None]
    own = unit(asked.directions)[torch.from_numpy(active.direction[chosen])] * sign
    lengths = torch.from_numpy(LENGTHS * asked.typical).float()[:, None]
    with progress("plateau", len(positions), "tokens") as bar:
        for part in in_rows(positions, asked.reader.corpus.n_ctx, asked.reader.batch_rows):
            rows = np.unique(positions[part] // asked.reader.corpus.n_ctx)
            versions = Versions.of(asked.reader, asked.model, rows, (asked.hook,), 0)
            for place in part.tolist():
                fake, beside = fakes[place], asked.beside[which[place]]
                steps = (beside[:, None] * lengths).flatten(0, 1)
                along = (own[place][:, None] * lengths).flatten(0, 1)
                here = torch.cat([torch.zeros(1, len(fake)), steps, along])
                there = torch.cat([fake[None], fake + steps])
                for kinds, vectors in (([0, 2], here), ([1], there)):
                    kl = _from_first(asked, versions, int(positions[place]), vectors)
                    found[place, kinds] = kl.reshape(len(kinds), _EACH, n_lengths).mean(1)
                bar.advance(1)
    return found


def _gaussian(asked: Asked, n: int, rng: torch.Generator) -> Float[Tensor, "n d"]:
    """Draws with the mean and the covariance of the activations."""
    variances, vectors = torch.linalg.eigh(asked.covariance)
    draws = torch.randn(n, len(variances), generator=rng, dtype=torch.float64)
    found: Tensor = asked.sample.mean(0) + (draws @ (vectors * variances.clamp_min(0).sqrt()).T).float()
    return found


def _from_first(asked: Asked, versions: Versions, position: int, vectors: Float[Tensor, "n d"]) -> NDArray[np.float64]:
    """`[n - 1]`, divergences at one token of all versions from the first of them."""
    there = np.full(len(vectors), position)
    last = versions.at_token(there, lambda some: {asked.hook: vectors[torch.from_numpy(some)]})
    target = torch.zeros(1, dtype=torch.long)
    most = max(1, LOGITS // asked.model.n_vocab)
    kl = [changes(asked.model, last[:1], part[None], target, 0).divergence[0].cpu() for part in last[1:].split(most)]
    found: NDArray[np.float64] = torch.cat(kl).double().numpy()
    return found


def _figures(sums: NDArray[np.float64], n: int) -> Iterator[Figure]:
    shape = len(_KINDS), len(LENGTHS)
    halves = lambda s: half_length(s.reshape(*s.shape[:-1], *shape))
    yield figure_of(
        f"{KIND}/plateau",
        sums,
        lambda s: halves(s)[..., 0] / halves(s)[..., 1],
        "length at which predictions have moved half as far as at twice the median distance of an activation from the "
        "mean, around real activations over around Gaussian ones like them; 1 where the model makes nothing of the "
        "difference",
        over="groups of documents",
        n=n,
        null=1.0,
    )
    yield figure_of(
        f"{KIND}/plateau_along_latents",
        sums,
        lambda s: halves(s)[..., 2] / halves(s)[..., 0],
        "that length along latents that are active over that along directions drawn as activations differ; null: 1",
        over="groups of documents",
        n=n,
        null=1.0,
    )
