"""Whether latents stand for single tokens: how uncertain the token is where a latent is active.

The entropy of a latent's tokens, each weighted by the activation on it, over the test rows. Latents of models that were
trained have more of it the deeper they lie, those of random models stay at single tokens at every depth (Heap et al.
2025, arXiv:2501.17727): compare runs of several layers, and a run with its twin. The null is the same activations on
tokens drawn from the same rows.
"""

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import median_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import generator
from sparselex.evaluate.model_features.asked import LATENTS, Active, Asked
from sparselex.evaluate.model_features.records import KIND, Part

NAME = f"{KIND}/token_entropy"

_LEAST = 10
"""Tokens at which a latent is active below which its entropy says how few they are."""


def token_entropy(asked: Asked) -> Part:
    """The entropies of latents and of controls."""
    found = {name: _of(asked, asked.active(name), name) for name in asked.subjects}
    figures = {name: [figure] for name, (figure, _) in found.items()}
    return Part(figures=figures.pop(LATENTS), controls=figures, measured={NAME: found[LATENTS][1]})


def entropies(
    owner: NDArray[np.int64], token: NDArray[np.int64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the owners, ascending, and of each the entropy in nats of the weights of its tokens."""
    order = np.lexsort((token, owner))
    owner, token, weight = owner[order], token[order], weight[order]
    begins = np.flatnonzero(np.r_[True, (np.diff(owner) != 0) | (np.diff(token) != 0)]) if len(owner) else owner
    each = np.add.reduceat(weight, begins) if len(owner) else weight
    names, first = np.unique(owner[begins], return_index=True)
    if not len(names):
        return names, each
    total = np.add.reduceat(each, first)
    share = each / np.repeat(total, np.diff(np.r_[first, len(each)]))
    return names, np.add.reduceat(-share * np.log(share.clip(min=np.finfo(float).tiny)), first)


def _of(asked: Asked, active: Active, name: str) -> tuple[Figure, dict[int, float]]:
    tokens = asked.reader.corpus.tokens
    n_ctx = asked.reader.corpus.n_ctx
    of = lambda positions: np.asarray(tokens[positions // n_ctx])[np.arange(len(positions)), positions % n_ctx]
    names, counts = np.unique(active.direction, return_counts=True)
    active = active.of(np.isin(active.direction, names[counts >= _LEAST]))
    weight = np.abs(active.value).astype(np.float64)
    names, found = entropies(active.direction, of(active.position).astype(np.int64), weight)
    rng = generator(asked.config.seed, "model features", "tokens", "null", name)
    elsewhere = asked.test[2][rng.integers(0, len(asked.test[2]), size=len(active.position))]
    null = entropies(active.direction, of(elsewhere).astype(np.int64), weight)[1]
    figure = median_figure(
        NAME,
        found,
        f"median over latents, active on {_LEAST} tokens or more, of the entropy of these tokens, each weighted by the "
        "activation on it; null: the same activations on tokens drawn from the same rows",
        over="latents",
        unit="nats",
        null=float(np.median(null)) if len(null) else None,
    )
    return figure, dict(zip(names.tolist(), found.tolist(), strict=True))
