"""What a model says of a text that it wrote under edits: how likely it finds it without them, where they bent it, and
how much of it repeats itself."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.edits import bound
from sparselex.causal.effects import check_finite
from sparselex.causal.kinds import Edit
from sparselex.causal.predictions import divergences, log_probabilities, losses
from sparselex.lm.subject import SubjectModel

N_GRAM = 4
"""Tokens of a piece that may repeat itself, as in Welleck et al. (2020), section 6, seq-rep-4."""


class Judged(NamedTuple):
    """Of one row of tokens."""

    loss: Float[Tensor, " ctx_less_1"]
    """Cross-entropy of each token but the first under the model without edits, nats."""

    divergence: Float[Tensor, " ctx"]
    """KL divergence of what is predicted at each token under the edits from what is predicted without them, nats."""


@torch.no_grad()
def judged(model: SubjectModel, row: Int[Tensor, "1 ctx"], earliest: Hook, edits: Sequence[Edit]) -> Judged:
    """A text under the model that wrote it, with and without edits, the earliest of which is made at `earliest`.

    Raises `UserError` for edits that leave no finite logits.
    """
    kept = model.keep(row, earliest)
    p = log_probabilities(model.predict(kept.last[0]))
    q = log_probabilities(model.predict(model.last(kept, bound(edits))[0])) if edits else p
    check_finite(q)
    return Judged(losses(p[:-1], row[0, 1:].to(p.device)).cpu(), divergences(p, q).clamp_min(0).cpu())


def repeated(tokens: Sequence[int], n: int = N_GRAM) -> float | None:
    """Share of the pieces of `n` tokens that stand in the text before as well, from 0 to 1; None of fewer than `n`
    tokens. (1 - unique pieces / pieces: Welleck et al., "Neural text generation with unlikelihood training", 2020.)"""
    pieces = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(pieces)) / len(pieces) if pieces else None
