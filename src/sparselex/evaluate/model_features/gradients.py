"""Gradients of what a model predicts at one of its sites: of the log-probability of tokens that it draws itself."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader, rows_at_once
from sparselex.base.errors import UserError
from sparselex.base.seeds import derive
from sparselex.base.sites import Hook
from sparselex.lm.subject import SubjectModel


def gradients(
    model: SubjectModel, reader: Reader, hook: Hook, rows: NDArray[np.int64], seed: int, batch_rows: int | None = None
) -> Iterator[tuple[Float[Tensor, "n d"], NDArray[np.int32]]]:
    """Of some rows at a time the gradients at `hook` of the sum of log p(y) over all predictions of text, at every
    counted token, and the document that each is of. Every y is drawn from what the model predicts there, by the seed
    and its row: so the products of gradients are, on average, the Fisher information of all later predictions.

    Raises `UserError` for a model that gives no gradients, and for a site that nothing reads.
    """
    corpus = reader.corpus
    at_once = batch_rows or rows_at_once(model, corpus.n_ctx, blocks=model.n_layers)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        documents = np.asarray(corpus.documents[part])
        text = documents >= 0
        counted = text & reader.keeps(reader.values(part)).reshape(text.shape)
        tokens = reader.tokens(part)
        seen = model.run(tokens, read=[hook], grad=True)
        log_p = seen.logits[:, :-1].float().log_softmax(-1)
        drawn = _drawn(log_p.detach(), part, seed)
        said = log_p.gather(-1, drawn[..., None])[..., 0]
        predicted = torch.from_numpy(text[:, 1:].copy()).to(said.device)
        found = _gradient((said * predicted).sum(), seen.values[hook], model, hook)
        yield found[torch.from_numpy(counted)], documents[counted]


def _drawn(log_p: Float[Tensor, "batch ctx n_vocab"], rows: NDArray[np.int64], seed: int) -> Int[Tensor, "batch ctx"]:
    draws = list[Tensor]()
    for one, row in zip(log_p, rows.tolist(), strict=True):
        chance = torch.Generator(device="cpu").manual_seed(derive(seed, "predicted tokens", row))
        draws.append(torch.multinomial(one.exp().cpu(), 1, generator=chance)[:, 0])
    return torch.stack(draws).to(log_p.device)


def _gradient(said: Tensor, values: Tensor, model: SubjectModel, hook: Hook) -> Float[Tensor, "batch ctx d"]:
    if not said.requires_grad:
        raise UserError(
            f"What {model.name} predicts has no gradient at {hook}.",
            "a model that is computed in floating point all the way, and a site that something reads",
            "load it unquantised, or name another site.",
        )
    (found,) = torch.autograd.grad(said, values, allow_unused=True)
    if found is None:
        raise UserError(
            f"Nothing behind {hook} reads it.", "a site that predictions hang on", "name another site of the model."
        )
    return found.detach().float().cpu()
