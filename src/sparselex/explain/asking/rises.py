"""Which next tokens become likelier when a latent is amplified."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.causal.edits import Edits, add, bound
from sparselex.causal.predictions import divergences, log_probabilities
from sparselex.causal.strength import tuned
from sparselex.causal.where import Where
from sparselex.explain.asking.steering import Directions, Prompts
from sparselex.explain.asking.subject import Subject


class Rises(NamedTuple):
    """Next tokens whose probability rises."""

    tokens: list[int]
    """The tokens, the largest rise first."""

    values: list[float]
    """By how much, mean over prompts; above 0 each."""

    divergence: float
    """How far the prediction moved for that, nats, mean over prompts."""


@torch.no_grad()
def rises(subject: Subject, given: Prompts, directions: Directions, target: float, n: int) -> Rises:
    """The `n` next tokens whose probability rises most behind prompts, on average over them, when the directions are
    added at the last token by as much as moves the prediction by `target` nats; fewer where fewer rise."""
    model, start = subject.model, torch.tensor(subject.start, dtype=torch.long)
    rows = torch.cat([start.expand(len(given.tokens), -1), torch.from_numpy(given.tokens)], dim=1)
    last = rows.shape[1] - 1
    kept = model.keep(rows, subject.latents.earliest)
    every, clean = torch.arange(len(rows)), log_probabilities(model.predict(kept.last[:, last]))

    def steered(strength: float) -> Float[Tensor, "n n_vocab"]:
        made = bound(_edits(directions, strength, last), last)
        return log_probabilities(model.predict(model.last(kept.of(every, last), made)[:, -1]))

    size = max(float(direction.float().norm()) for direction in directions.values())
    there = float(kept.values[:, last].float().norm(dim=-1).mean())
    moved = lambda strength: float(divergences(clean, steered(strength)).double().mean())
    found = tuned(moved, target, start=max(1e-3, min(1e5, there / max(size, 1e-9))))
    gains = (steered(found.strength).exp() - clean.exp()).double().mean(0)
    top = gains.topk(min(n, len(gains)))
    rising = [(int(token), float(value)) for token, value in zip(top.indices, top.values, strict=True) if value > 0]
    return Rises([token for token, _ in rising], [value for _, value in rising], found.divergence)


def _edits(directions: Directions, by: float, at: int) -> Edits:
    where = Where(since=torch.tensor([at]))
    return sum((add(hook, direction, by, where) for hook, direction in directions.items()), start=())
