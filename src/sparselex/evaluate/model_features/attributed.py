"""Whether what gradients say of a latent is what taking it away shows.

The attribution of latent j at a token is f_j d_j . g, g being the gradient at the activation of the loss of what comes,
at the token and those looked at behind it; taking the latent away changes that loss by about its negative. Told is the
rank correlation of both over tokens and latents, and the slope of what is measured on what was estimated. Where the
correlation is below 0.8 gradients are averaged over eight points on the way (integrated gradients, Sundararajan et al.
2017, arXiv:1703.01365). After Marks et al. 2024 (arXiv:2403.19647).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.estimates import figure_of, interval_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Jackknife
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.causal.edits import add, bound
from sparselex.causal.predictions import log_probabilities, losses
from sparselex.causal.where import at
from sparselex.evaluate.model_features.asked import LATENTS, Asked, by_group
from sparselex.evaluate.model_features.moved import moved
from sparselex.evaluate.model_features.records import KIND, Part
from sparselex.evaluate.versions import LOGITS, Versions, in_rows

AGREE = 0.8
"""Rank correlation from which one gradient is enough."""

_POINTS = 8
"""Points on the way to none of the latent."""

_AT_ONCE = 1024
"""Tokens computed with gradients at a time: every block's values are held for them."""


class _Pairs(NamedTuple):
    """Latents at tokens."""

    estimated: NDArray[np.float64]
    """`[n]`, by how much the loss rises by the gradient."""

    exact: NDArray[np.float64]
    """`[n]`, by how much it does."""

    groups: NDArray[np.int64]
    """`[n]`, of documents."""


def attribution(asked: Asked) -> Part:
    """Attribution against ablation of latents that are drawn, at tokens where they are active. Raises `UserError` for a
    model without gradients."""
    active = asked.drawn(LATENTS)
    rows = asked.directions[torch.from_numpy(active.direction)]
    taken = -torch.from_numpy(active.value)[:, None] * rows
    exact = moved(asked, active.position, lambda some: taken[torch.from_numpy(some)], "ablations").loss
    groups = asked.groups(active.position)

    def estimated(points: list[float]) -> NDArray[np.float64]:
        gradient = torch.stack([_gradients(asked, active.position, point * taken) for point in points]).mean(0)
        found: NDArray[np.float64] = (gradient * taken).double().sum(-1).numpy()
        return found

    one = _Pairs(estimated([0.0]), exact, groups)
    null = _shuffled(asked, one, active.value.astype(np.float64))
    figures = [_correlation("attribution", one, "its activation times the gradient along its direction", null)]
    best = one
    if not (figures[0].value or 0) >= AGREE:
        best = _Pairs(estimated([(point + 0.5) / _POINTS for point in range(_POINTS)]), exact, groups)
        words = f"the same with the gradient's mean over {_POINTS} points on the way (integrated gradients)"
        figures.append(_correlation("attribution_integrated", best, words, null))
    return Part(figures=[*figures, *_slope(best, asked.documents.n_groups)])


def _gradients(asked: Asked, position: NDArray[np.int64], moved_by: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """`[n, d]`, at each token the gradient of the loss that is looked at, its activation moved by so much."""
    found = torch.zeros_like(moved_by)
    n_ctx = asked.reader.corpus.n_ctx
    with progress("gradients", len(position), "tokens") as bar:
        for part in in_rows(position, n_ctx, asked.reader.batch_rows):
            rows = np.unique(position[part] // n_ctx)
            versions = Versions.of(asked.reader, asked.model, rows, (asked.hook,), asked.config.n_after)
            order = part[np.argsort(position[part] % n_ctx, kind="stable")]
            most = max(1, 4 * LOGITS // (asked.model.n_vocab * (versions.n_after + 1)))
            for some in _together(order, position % n_ctx, versions.n_after, most):
                found[torch.from_numpy(some)] = _some(versions, asked, position[some], moved_by[torch.from_numpy(some)])
                bar.advance(len(some))
    return found


def _together(
    order: NDArray[np.int64], column: NDArray[np.int64], n_after: int, most: int
) -> Iterator[NDArray[np.int64]]:
    """Tokens in order of their columns, some at a time: as many as can be computed with all that gradients need, each
    row from the first of their columns on."""
    begin = 0
    while begin < len(order):
        widths = column[order[begin : begin + most]] - column[order[begin]] + n_after + 1
        within = np.flatnonzero(widths * np.arange(1, len(widths) + 1) > _AT_ONCE)
        stop = begin + (max(1, int(within[0])) if len(within) else len(widths))
        yield order[begin:stop]
        begin = stop


@torch.enable_grad()
def _some(
    versions: Versions, asked: Asked, position: NDArray[np.int64], moved_by: Float[Tensor, "n d"]
) -> Float[Tensor, "n d"]:
    taken_up, step = versions.taken_up(position), moved_by.clone().requires_grad_()
    edits = bound(add(asked.hook, step, where=at(taken_up.where)), taken_up.since)
    last = asked.model.last(taken_up.start, edits, grad=True)
    flat, inside, text_next = versions.behind(position)
    counted = torch.from_numpy(inside & text_next)
    places = (taken_up.first[:, None] + torch.arange(versions.n_after + 1)).clamp_max(last.shape[1] - 1).to(last.device)
    read = last.gather(1, places[:, :, None].expand(-1, -1, last.shape[2]))[counted.to(last.device)]
    targets = versions.kept.tokens.flatten()[torch.from_numpy(flat[:, 1:])][counted]
    loss = losses(log_probabilities(asked.model.predict(read, grad=True)), targets.to(read.device)).sum()
    if not loss.requires_grad:
        raise UserError(
            f"What {asked.model.name} predicts has no gradient at {asked.hook}.",
            "a model that is computed in floating point all the way",
            "load it unquantised.",
        )
    return torch.autograd.grad(loss, step)[0].detach()


def _shuffled(asked: Asked, pairs: _Pairs, values: NDArray[np.float64]) -> float:
    """The rank correlation where every latent has the activation of another pair."""
    rng = generator(asked.config.seed, "model features", "attribution")
    shuffled = np.divide(pairs.estimated, values, out=np.zeros(len(values)), where=values != 0) * rng.permutation(
        values
    )
    return _rank_correlation(shuffled, pairs.exact)


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _correlation(name: str, pairs: _Pairs, words: str, null: float) -> Figure:
    rho = _rank_correlation(pairs.estimated, pairs.exact)
    groups = np.unique(pairs.groups)
    without = np.array(
        [_rank_correlation(*(part[pairs.groups != group] for part in pairs[:2])) for group in groups.tolist()]
    )
    influences = (rho - without) * np.sqrt((len(groups) - 1) / len(groups))
    told = Jackknife(rho, influences, float(len(groups)))
    return interval_figure(
        f"{KIND}/{name}",
        told.interval(correlation=True),
        "rank correlation, over latents and tokens, of by how much the loss of what comes rises without a latent and "
        f"what gradients say of it: {words}; null: the activation of another pair in its place",
        over="groups of documents",
        spread=(len(groups), float(len(groups)), told.se),
        null=null,
        better="higher",
        n=len(pairs.exact),
    )


def _slope(pairs: _Pairs, n_groups: int) -> Iterator[Figure]:
    columns = np.stack([pairs.estimated * pairs.exact, pairs.estimated**2], axis=1)
    yield figure_of(
        f"{KIND}/attribution_slope",
        by_group(columns, pairs.groups, n_groups)[np.unique(pairs.groups)],
        lambda s: s[..., 0] / s[..., 1],
        "slope, through the origin, of what taking latents away does to the loss on what the last of these estimates "
        "says; 1 where they agree",
        over="groups of documents",
        n=len(pairs.exact),
        null=1.0,
    )
