"""How much each latent matters to what a model gives, by gradients: one pass forward and one back for all of them.

The attribution of a latent is what a first-order estimate says its ablation would take away: its activation, times the
gradient along its direction (Syed et al. 2023, arXiv:2310.10348; for latents Marks et al. 2024, arXiv:2403.19647). With
integrated gradients the gradient is the mean over points on the way from no latent at all to all of them (Sundararajan
et al. 2017, arXiv:1703.01365): exact in their sum, where one gradient is not.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.causal.latents import Latents
from sparselex.dictionaries.codes import Codes
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel

Metric = Callable[[Float[Tensor, "batch ctx n_vocab"]], Float[Tensor, ""]]
"""One number made of the logits: a difference of two, a loss. Its rows must not mix, as a sum over rows does not."""


def attributions(
    model: SubjectModel,
    kept: Kept,
    latents: Latents,
    metric: Metric,
    *,
    counted: Bool[Tensor, "batch ctx"] | None = None,
    steps: int = 0,
) -> Codes:
    """Of every active latent of every token what it adds to the metric, as codes of the tokens row after row
    `[batch * ctx]`; a token that is not `counted` has none.

    `kept` is a pass kept at the site of the dictionary, an autoencoder. Without `steps` one gradient is taken, at what
    the model has there; with `steps` the mean over as many points on the way to it from the reconstruction without
    latents, the dictionary's error kept. Raises `UserError` for a dictionary of several sites.
    """
    latents.check_reads_what_it_writes("attributed to")
    if kept.hook != latents.hook or kept.since:
        raise UserError(
            f"A pass kept at {kept.hook}, from position {kept.since} on, was given for a dictionary of {latents.hook}.",
            "a whole pass kept at the dictionary's own site",
            f"use `model.keep(tokens, {str(latents.hook)!r})`.",
        )
    values = kept.values.float()
    flat = values.flatten(0, 1)
    with torch.no_grad():
        codes = latents.dictionary.encode_sparse(flat)
    if counted is not None:
        codes = codes.at(counted.flatten().to(flat.device)[codes.rows].nonzero()[:, 0])
    W_dec = latents.dictionary.W_dec.detach()
    of_latents = codes.values.new_zeros(flat.shape).index_add(
        0, codes.rows, codes.values[:, None] * W_dec[codes.indices]
    )
    parts = [(step + 0.5) / steps for step in range(steps)] or [1.0]
    gradient = torch.zeros_like(values)
    for part in parts:
        there = values - (1 - part) * of_latents.view_as(values)
        gradient += _gradient(model, kept, there, metric).float() / len(parts)
    along = (gradient.flatten(0, 1)[codes.rows] * W_dec[codes.indices]).sum(-1)
    return codes.with_values(codes.values * along)


def _gradient(model: SubjectModel, kept: Kept, values: Tensor, metric: Metric) -> Tensor:
    hook = kept.hook
    seen = model.run(kept, edits={hook: lambda x: values.to(x)}, read=[hook], grad=True)
    one = metric(seen.logits.float())
    if one.ndim or not one.requires_grad:
        raise UserError(
            f"The metric gave the shape {[*one.shape]}{'' if one.requires_grad else ', and no gradient'}.",
            "one number made of the logits",
            "sum over rows, or choose one, by operations of torch.",
        )
    return torch.autograd.grad(one, seen.values[hook])[0]
