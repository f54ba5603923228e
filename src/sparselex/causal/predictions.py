"""What a model predicts, and how much of that is lost."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.lm.subject import SubjectModel

AT_ONCE = 2**24
"""Logits that are held at a time, 64 MiB in float32: of a vocabulary of fifty thousand those of some hundred tokens."""


class Predicted(NamedTuple):
    """What a model predicts, token by token."""

    loss: Float[Tensor, " n"]
    """Cross-entropy of the token that comes, nats."""

    divergence: Float[Tensor, " n"]
    """KL divergence of these predictions from the reference's, nats; never below 0 but for rounding."""


def compared(
    model: SubjectModel,
    reference: Float[Tensor, "n d"],
    others: Mapping[str, Float[Tensor, "n d"]],
    targets: Int[Tensor, " n"],
) -> tuple[Float[Tensor, " n"], dict[str, Predicted]]:
    """The losses of a reference at the tokens `targets`, and losses and divergences of others, all given by what the
    model's unembedding reads (`SubjectModel.last`).

    Logits are formed for some tokens at a time, those of the reference once for all others: with a vocabulary of fifty
    thousand those of one batch would be gigabytes.
    """
    n, device = len(targets), reference.device
    loss = torch.empty(n, device=device)
    found = {name: Predicted(torch.empty(n, device=device), torch.empty(n, device=device)) for name in others}
    targets = targets.to(device)
    for start in range(0, n, max(1, AT_ONCE // model.n_vocab)):
        here = slice(start, start + max(1, AT_ONCE // model.n_vocab))
        p = log_probabilities(model.predict(reference[here]))
        loss[here] = losses(p, targets[here])
        for name, last in others.items():
            q = log_probabilities(model.predict(last[here]))
            found[name].loss[here], found[name].divergence[here] = losses(q, targets[here]), divergences(p, q)
    return loss, found


class Changes(NamedTuple):
    """What several versions of each of some predictions are like beside the prediction itself."""

    divergence: Float[Tensor, "n m"]
    """KL divergence of each version from the prediction itself, nats; never below 0."""

    loss: Float[Tensor, "n m"]
    """How much the cross-entropy of what comes rises, nats."""

    tokens: Int[Tensor, "n m n_shown"]
    """The tokens whose probabilities change most."""

    before: Float[Tensor, "n m n_shown"]
    """These."""

    after: Float[Tensor, "n m n_shown"]
    """And in the version."""


def changes(
    model: SubjectModel,
    reference: Float[Tensor, "n d"],
    versions: Float[Tensor, "n m d"],
    targets: Int[Tensor, " n"],
    n_shown: int = 0,
) -> Changes:
    """`m` versions of each of `n` predictions beside the prediction itself, all given by what the model's unembedding
    reads.

    With p the probabilities and δ the differences of the logits from their mean under p, the divergence is `log(1 +
    Σ p (exp(δ) - 1 - δ))`: a sum of what is never negative, so that a small divergence is no difference of large
    numbers, and logits are gone through once.
    """
    z = model.predict(reference).float()
    p = z.double().softmax(-1).float()  # an error in the seventh digit would be multiplied by exp(δ)
    n, m = versions.shape[:2]
    delta = model.predict(versions.flatten(0, 1)).float().view(n, m, -1) - z[:, None]
    delta -= torch.bmm(delta, p[:, :, None])
    gain = torch.expm1(delta)
    there = delta.gather(-1, targets.to(z.device)[:, None, None].expand(-1, m, 1))[:, :, 0]
    more = torch.bmm(gain - delta, p[:, :, None])
    divergence = torch.log1p(more)[:, :, 0]
    if not bool(torch.isfinite(divergence).all()):  # a token was so rare that its gain has no number
        return _changes_by_logarithms(model, z, versions, targets, n_shown)
    tokens = torch.zeros(n, m, 0, dtype=torch.long, device=z.device)
    if n_shown:
        tokens = ((gain - more).abs_() * p[:, None]).topk(n_shown, dim=-1).indices
    before = p[:, None].expand(-1, m, -1).gather(-1, tokens)
    after = before * (1 + gain.gather(-1, tokens)) / (1 + more)
    return Changes(divergence.clamp_min_(0), divergence - there, tokens, before, after)


def _changes_by_logarithms(model: SubjectModel, z: Tensor, versions: Tensor, targets: Tensor, n_shown: int) -> Changes:
    n, m = versions.shape[:2]
    p = log_probabilities(z)[:, None].expand(-1, m, -1)
    q = log_probabilities(model.predict(versions.flatten(0, 1))).view(n, m, -1)
    at = targets.to(z.device)[:, None, None].expand(-1, m, 1)
    tokens = (q.exp() - p.exp()).abs().topk(n_shown, dim=-1).indices
    return Changes(
        divergences(p, q).clamp_min(0),
        (p - q).gather(-1, at)[:, :, 0],
        tokens,
        p.gather(-1, tokens).exp(),
        q.gather(-1, tokens).exp(),
    )


def log_probabilities(logits: Float[Tensor, "*n n_vocab"]) -> Float[Tensor, "*n n_vocab"]:
    """Of every token, in float32."""
    return F.log_softmax(logits.float(), dim=-1)


def losses(log_p: Float[Tensor, "n n_vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy in nats of what comes."""
    return -log_p.gather(-1, targets[:, None])[:, 0]


def divergences(log_p: Float[Tensor, "*n n_vocab"], log_q: Float[Tensor, "*n n_vocab"]) -> Float[Tensor, "*n"]:
    """KL(p || q) in nats."""
    return torch.sum(log_p.exp() * (log_p - log_q), dim=-1)
