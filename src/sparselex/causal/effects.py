"""What edits do to what a model predicts, token by token."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.causal.edits import bound
from sparselex.causal.kinds import Edit
from sparselex.causal.predictions import divergences, log_probabilities, losses
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel


class RowEffects(NamedTuple):
    """Of one row of tokens; each entry is about the prediction that is made at that token, of the next one."""

    divergence: Float[Tensor, " ctx"]
    """KL divergence of what is predicted under the edits from what is predicted without them, nats."""

    loss: Float[Tensor, " ctx_less_1"]
    """How much the cross-entropy of the token that comes rises, nats."""

    tokens: Int[Tensor, "ctx n_shown"]
    """The tokens whose probability changes most."""

    before: Float[Tensor, "ctx n_shown"]
    """Their probabilities without the edits."""

    after: Float[Tensor, "ctx n_shown"]
    """And under them."""


@torch.no_grad()
def effects(model: SubjectModel, kept: Kept, edits: Sequence[Edit], *, n_shown: int = 5) -> RowEffects:
    """The effects of edits of one row, a pass over which was kept at the earliest hook that is edited.

    Raises `UserError` for edits that leave no finite logits, for more rows than one, and for no token to be shown.
    """
    if len(kept.tokens) != 1 or kept.since:
        raise UserError(
            f"{len(kept.tokens)} rows from position {kept.since} on were given.",
            "one whole row",
            "measure one row at a time.",
        )
    if n_shown < 1:
        raise UserError(f"{n_shown} tokens were to be shown.", "at least one", "ask for 5, say.")
    p = log_probabilities(model.predict(kept.last[0]))
    q = log_probabilities(model.predict(model.last(kept, bound(edits))[0]))
    check_finite(q)
    changed = (q.exp() - p.exp()).abs().topk(min(n_shown, p.shape[-1]), dim=-1).indices
    targets = kept.tokens[0, 1:].to(p.device)
    return RowEffects(
        divergences(p, q).clamp_min(0),
        losses(q[:-1], targets) - losses(p[:-1], targets),
        changed,
        p.gather(-1, changed).exp(),
        q.gather(-1, changed).exp(),
    )


def check_finite(logits: Float[Tensor, "*n n_vocab"]) -> None:
    """Raise `UserError` where edits left the model without a number to predict by."""
    if bool(logits.isnan().any()) or not bool(torch.isfinite(logits.amax(-1)).all()):
        raise UserError(
            "The edits leave the model without finite logits.",
            "values at which it still computes",
            "steer by less.",
        )
