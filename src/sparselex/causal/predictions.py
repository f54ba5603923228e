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


def log_probabilities(logits: Float[Tensor, "*n n_vocab"]) -> Float[Tensor, "*n n_vocab"]:
    """Of every token, in float32."""
    return F.log_softmax(logits.float(), dim=-1)


def losses(log_p: Float[Tensor, "n n_vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy in nats of what comes."""
    return -log_p.gather(-1, targets[:, None])[:, 0]


def divergences(log_p: Float[Tensor, "*n n_vocab"], log_q: Float[Tensor, "*n n_vocab"]) -> Float[Tensor, "*n"]:
    """KL(p || q) in nats."""
    return torch.sum(log_p.exp() * (log_p - log_q), dim=-1)
