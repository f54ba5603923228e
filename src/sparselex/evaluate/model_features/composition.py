"""Whether latents are made of others: what taking one away does, against what taking away its two parts does together.

The two rows of the same dictionary that a latent's direction is best made of are found by matching pursuit, and their
shares by least squares: f_j d_j = f_j (alpha d_a + beta d_b) + what is left. If the latent only stands for both, as one
for "blue square" does where colour and shape are read apart, the changes of the logits without either part add up to
the change without the latent: the share of the latter that the sum explains, weighed by the predicted probabilities, is
what is told, over tokens where the latent is active. The null are two other rows, drawn at random. A screen, and no
proof: parts are looked for among the dictionary's own rows alone.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.evaluate.model_features.asked import LATENTS, Active, Asked, unit
from sparselex.evaluate.model_features.records import KIND, Part
from sparselex.evaluate.versions import LOGITS, Versions, in_rows

NAME = f"{KIND}/composed"

ENOUGH = 0.9
"""Share of a latent's effect from which two parts explain it."""

_PLACES = 4
"""Tokens of each latent at which its parts are tried."""

_CHUNK = 1024


class Parts(NamedTuple):
    """What directions are made of."""

    rows: Int[Tensor, "n 2"]
    """Two rows for each."""

    shares: Float[Tensor, "n 2"]
    """How much of each row, by least squares."""


def composition(asked: Asked) -> Part:
    """How far latents that are drawn are explained by two others."""
    active = _few(asked.drawn(LATENTS))
    rows = unit(asked.directions)
    names = np.unique(active.direction)
    own = torch.from_numpy(names)
    rng = generator(asked.config.seed, "model features", "composition")
    alive = (asked.variances > 0).nonzero()[:, 0].numpy()
    if len(alive) < 3 or not len(names):
        return Part()
    drawn = torch.from_numpy(np.stack([rng.choice(alive[alive != name], 2, replace=False) for name in names]))
    found, null = (
        _explained(asked, active, rows, Parts(pair, _least_squares(rows[own], rows[pair])))
        for pair in (best_pair(rows[own], rows[torch.from_numpy(alive)], own, torch.from_numpy(alive)), drawn)
    )
    return Part(figures=_figures(found, null), measured={NAME: dict(zip(names.tolist(), found.tolist(), strict=True))})


def best_pair(
    directions: Float[Tensor, "n d"], rows: Float[Tensor, "m d"], own: Int[Tensor, " n"], numbers: Int[Tensor, " m"]
) -> Int[Tensor, "n 2"]:
    """The two rows, by their numbers, that matching pursuit makes each direction of; the direction itself, whose number
    is `own`, is none of them."""
    found = []
    for part, mine in zip(directions.split(_CHUNK), own.split(_CHUNK), strict=True):
        itself = mine[:, None] == numbers
        first = (part @ rows.T).abs().masked_fill(itself, -1).argmax(-1)
        left = part - (part * rows[first]).sum(-1, keepdim=True) * rows[first]
        taken = itself | (first[:, None] == torch.arange(len(rows)))
        second = (left @ rows.T).abs().masked_fill(taken, -1).argmax(-1)
        found.append(torch.stack([numbers[first], numbers[second]], dim=1))
    return torch.cat(found)


def _least_squares(directions: Float[Tensor, "n d"], pairs: Float[Tensor, "n 2 d"]) -> Float[Tensor, "n 2"]:
    gram = pairs @ pairs.mT + 1e-6 * torch.eye(2)
    return torch.linalg.solve(gram, pairs @ directions[:, :, None])[:, :, 0]


def _few(active: Active) -> Active:
    first = np.searchsorted(active.direction, active.direction)
    return active.of(np.arange(len(active.direction)) - first < _PLACES)


def _explained(asked: Asked, active: Active, rows: Float[Tensor, "m d"], parts: Parts) -> NDArray[np.float64]:
    """`[n_latents]`, the share of each one's effect that its parts explain, over its tokens."""
    names, owner = np.unique(active.direction, return_inverse=True)
    lengths = asked.directions.norm(dim=-1)[torch.from_numpy(active.direction)]
    size = -torch.from_numpy(active.value) * lengths
    of = torch.from_numpy(owner)
    both = [parts.shares[of, one, None] * rows[parts.rows[of, one]] for one in (0, 1)]
    vectors = torch.stack([rows[torch.from_numpy(active.direction)], *both], dim=1) * size[:, None, None]  # [n, 3, d]
    sums = np.zeros((len(names), 2))
    n_ctx = asked.reader.corpus.n_ctx
    with progress("composition", len(owner), "tokens") as bar:
        for part in in_rows(active.position, n_ctx, asked.reader.batch_rows):
            rows_here = np.unique(active.position[part] // n_ctx)
            versions = Versions.of(asked.reader, asked.model, rows_here, (asked.hook,), 0)
            for some in np.split(part, np.arange(_at_once(asked), len(part), _at_once(asked))):
                squares = _squares(asked, versions, active.position[some], vectors[torch.from_numpy(some)])
                np.add.at(sums, owner[some], squares)
                bar.advance(len(some))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = np.where(sums[:, 1] > 0, 1 - sums[:, 0] / sums[:, 1], 0.0)
    return found


def _at_once(asked: Asked) -> int:
    return max(1, 4 * LOGITS // (asked.model.n_vocab * 4))


def _squares(
    asked: Asked, versions: Versions, position: NDArray[np.int64], vectors: Float[Tensor, "n 3 d"]
) -> NDArray[np.float64]:
    """`[n, 2]`: squared change of the logits that parts leave unexplained, and the squared change, both weighed by the
    probabilities and about the mean under these."""
    n, flat = len(position), vectors.flatten(0, 1)
    last = versions.at_token(np.repeat(position, 3), lambda some: {asked.hook: flat[torch.from_numpy(some)]})
    plain = asked.model.predict(versions.plain(position)).float()
    p = plain.softmax(-1)
    changed = asked.model.predict(last).float().view(n, 3, -1) - plain[:, None]
    changed -= (changed * p[:, None]).sum(-1, keepdim=True)
    whole, left = changed[:, 0], changed[:, 0] - changed[:, 1] - changed[:, 2]
    found: NDArray[np.float64] = (
        torch.stack([(p * one.square()).sum(-1) for one in (left, whole)], dim=1).cpu().double().numpy()
    )
    return found


def _figures(found: NDArray[np.float64], null: NDArray[np.float64]) -> list[Figure]:
    said = (
        "of a latent's effect on the logits that is the sum of the effects of the two other rows of the dictionary "
        "that its direction is best made of; null: two rows drawn at random"
    )
    return [
        median_figure(
            NAME, found, f"median over latents of the share {said}", over="latents", null=float(np.median(null))
        ),
        mean_figure(
            f"{KIND}/composed_share",
            found >= ENOUGH,
            f"share of latents of which {ENOUGH:.0%} or more is so explained: the share {said}",
            over="latents",
            share=True,
            null=float((null >= ENOUGH).mean()),
            better="lower",
        ),
    ]
