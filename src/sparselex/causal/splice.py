"""Splices: run the model with a site's values replaced, and compare what it predicts.

Only counted positions are replaced. BOS, padding and norm outliers keep their own values: a dictionary was never shown
them, and a broken attention sink would swamp every figure.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.lm.subject import Edit, SubjectModel

Replace = Callable[[Tensor], Tensor]
"""`[n, d]` values in, `[n, d]` values out."""


def logits_of(
    model: SubjectModel,
    tokens: Int[Tensor, "batch ctx"],
    edits: Mapping[str, Edit] | None = None,
    *,
    grad: bool = False,
) -> Float[Tensor, "batch ctx n_vocab"]:
    """What the model predicts, with `edits` made on the way; with gradients through them if `grad` says so."""
    return model.run(tokens, edits=edits, grad=grad).logits


def spliced_logits(
    model: SubjectModel,
    tokens: Int[Tensor, "batch ctx"],
    hook: str,
    replace: Replace,
    counted: Bool[Tensor, "batch ctx"],
    *,
    grad: bool = False,
) -> Float[Tensor, "batch ctx n_vocab"]:
    """Logits with `replace(values)` in place of the values at `hook`, at counted positions only."""

    def edit(value: Tensor) -> Tensor:
        new = value.clone()
        new[counted] = replace(value[counted].float()).to(value)
        return new

    return logits_of(model, tokens, {hook: edit}, grad=grad)


def to_constant(vector: Float[Tensor, " d"]) -> Replace:
    """Replace every value by one vector: zero ablation, mean ablation."""
    return lambda x: vector.to(x).expand_as(x)


def token_losses(
    logits: Float[Tensor, "batch ctx n_vocab"], tokens: Int[Tensor, "batch ctx"]
) -> Float[Tensor, "batch ctx_minus_1"]:
    """Cross-entropy in nats of each next token: entry `[:, i]` is the loss at token `i + 1`."""
    targets = tokens[:, 1:].flatten().to(logits.device)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets, reduction="none").view(tokens.shape[0], -1)


def divergences(
    reference: Float[Tensor, "batch ctx n_vocab"], logits: Float[Tensor, "batch ctx n_vocab"]
) -> Float[Tensor, "batch ctx_minus_1"]:
    """KL(reference || logits) in nats at each position that predicts a token; never below 0 but for rounding."""
    p, q = (F.log_softmax(part[:, :-1].float(), dim=-1) for part in (reference, logits))
    return torch.sum(p.exp() * (p - q), dim=-1)
