"""How few of a dictionary's latents each latent of a later one depends on, through what the model computes in between.

At a token, with the latents i that are active in the dictionary and those j that are active in a dictionary of a later
site of the same token, J_ji = e_j . (d x_later / d x) d_i, e_j being what j reads and d_i what i writes: the derivative
of j's pre-activation by i's activation. Features with which a model computes leave most of J small (Farnik et al. 2025,
arXiv:2502.18147, who train for it). Told is the share of entries that hold 90 % of the sum of |J|, and the Hoyer
sparsity of its entries; the null has directions of other latents in the place of those that are active, and the same on
weights that were drawn anew is the twin's own card.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.causal.edits import add, bound
from sparselex.causal.where import at
from sparselex.evaluate.model_features.asked import LATENTS, Asked, Into, by_group
from sparselex.evaluate.model_features.records import KIND, Part
from sparselex.evaluate.versions import Versions, in_rows

HELD = 0.9
"""Share of the sum of all entries that the largest of them are to hold."""


def jacobians(asked: Asked) -> Part:
    """The Jacobian from the dictionary's latents to those of the later one, at some test tokens; nothing where no later
    one was named. Raises `UserError` for a later dictionary without an encoder."""
    if asked.into is None:
        return Part()
    rows = asked.into.dictionary.encoder_rows()
    if rows is None:
        raise UserError(
            f"The dictionary of run {asked.into.run!r} has no encoder, so that its latents have no derivative.",
            "a dictionary with one",
            "name another run by --into.",
        )
    active, tokens = asked.active(LATENTS), asked.tokens(asked.config.n_tokens, "jacobians")
    positions = asked.test[2][tokens]
    order = np.argsort(active.position, kind="stable")
    bounds = np.searchsorted(active.position[order], [positions, positions + 1])
    rng = generator(asked.config.seed, "model features", "jacobians")
    alive = (asked.variances > 0).nonzero()[:, 0].numpy()
    found = np.full((len(positions), 4), np.nan)
    with progress("jacobians", len(positions), "tokens") as bar:
        for part in in_rows(positions, asked.reader.corpus.n_ctx, asked.reader.batch_rows):
            here = np.unique(positions[part] // asked.reader.corpus.n_ctx)
            versions = Versions.of(asked.reader, asked.model, here, (asked.hook,), 0)
            for place in part.tolist():
                own = active.direction[order[bounds[0][place] : bounds[1][place]]]
                others = rng.choice(alive, len(own), replace=len(alive) < len(own))
                gradient = _gradient(versions, asked, asked.into, int(positions[place]), rows)
                for column, chosen in enumerate((own, others)):
                    entries = gradient @ asked.directions[torch.from_numpy(chosen)].T
                    found[place, column], found[place, 2 + column] = edges(entries), hoyer(entries)
                bar.advance(1)
    known = np.isfinite(found).all(1)
    groups = asked.groups(positions[known])
    sums = np.concatenate([found[known], np.ones((int(known.sum()), 1))], axis=1)
    by_document = by_group(sums, groups, asked.documents.n_groups)[np.unique(groups)]
    return Part(figures=list(_figures(by_document, asked.into, int(known.sum()))))


def edges(entries: Float[Tensor, "m n"]) -> float:
    """Share of the entries that together have `HELD` of the sum of their sizes; NaN of none, or of nothing but 0."""
    sizes = entries.abs().flatten().sort(descending=True).values.double()
    if not len(sizes) or not float(sizes.sum()):
        return float("nan")
    return float((int((sizes.cumsum(0) < HELD * sizes.sum()).sum()) + 1) / len(sizes))


def hoyer(entries: Float[Tensor, "m n"]) -> float:
    """`(sqrt(n) - |.|_1 / |.|_2) / (sqrt(n) - 1)`: 1 where a single entry is not 0, 0 where all are alike (Hoyer 2004);
    NaN of fewer than two, or of nothing but 0."""
    flat = entries.flatten().double()
    if len(flat) < 2 or not float(flat.norm()):
        return float("nan")
    root = len(flat) ** 0.5
    return float((root - flat.abs().sum() / flat.norm()) / (root - 1))


@torch.enable_grad()
def _gradient(
    versions: Versions, asked: Asked, into: Into, position: int, rows: Float[Tensor, "d_sae d"]
) -> Float[Tensor, "m d"]:
    """Of the pre-activation of each later latent that is active at a token, the gradient at the site there."""
    _, there = _pass(versions, asked, into, position, 1)
    device = into.dictionary.W_dec.device
    active = into.dictionary.encode_sparse(there.detach().float().to(device)).indices.cpu()
    if not len(active):
        return torch.zeros(0, asked.directions.shape[1])
    step, there = _pass(versions, asked, into, position, len(active))
    reads = rows.detach().to(there)[active.to(there.device)]
    if not there.requires_grad:
        raise UserError(
            f"What is at {into.hook} does not hang on {asked.hook}.",
            "a dictionary of a later site of a model that is computed in floating point",
            "name another run by --into.",
        )
    (found,) = torch.autograd.grad((reads * there).sum(), step)
    return found.detach().float().cpu()


def _pass(
    versions: Versions, asked: Asked, into: Into, position: int, n: int
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d_later"]]:
    """`n` times the same token: what is added at the site, nothing, and what is then at the later one."""
    taken_up = versions.taken_up(np.full(n, position))
    step = torch.zeros(n, asked.directions.shape[1], requires_grad=True)
    edits = bound(add(asked.hook, step, where=at(taken_up.where)), taken_up.since)
    seen = asked.model.run(taken_up.start, edits=edits, read=[into.hook], grad=True, logits=False).values[into.hook]
    return step, seen[:, 0]


def _figures(sums: NDArray[np.float64], into: Into, n: int) -> Iterator[Figure]:
    said = (
        f"of the Jacobian from active latents to those that are active at {into.hook} (run {into.run}), the mean over "
        "tokens; null: directions of other latents in their place"
    )
    null = lambda column: float(sums[:, column].sum() / max(1.0, sums[:, 4].sum()))
    yield figure_of(
        f"{KIND}/jacobian_edges",
        sums,
        lambda s: s[..., 0] / s[..., 4],
        f"share of entries that hold {HELD:.0%} of the sum of their sizes {said}",
        over="groups of documents",
        n=n,
        null=null(1),
        better="lower",
    )
    yield figure_of(
        f"{KIND}/jacobian_hoyer",
        sums,
        lambda s: s[..., 2] / s[..., 4],
        f"Hoyer sparsity of the entries {said}",
        over="groups of documents",
        n=n,
        null=null(3),
        better="higher",
    )
