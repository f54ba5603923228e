"""What a model writes when one latent is amplified, beside what it writes without: the material of output-side scores.

Prompts end at a token on which the latent is active, and the latent's direction is added there and behind it, by as
much as changes the prediction of the next token by a stated divergence (Paulo et al. 2024, section on interventions).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.edits import Edits, add, bound
from sparselex.causal.generate import generate
from sparselex.causal.predictions import changes
from sparselex.causal.strength import Tuned, tuned
from sparselex.causal.where import Where
from sparselex.explain.asking.subject import Subject
from sparselex.explain.evidence import SplitEvidence
from sparselex.explain.windows import ActiveWindows, drawn

Directions = dict[Hook, Float[Tensor, " d"]]
"""What is added at each hook."""


class Prompts(NamedTuple):
    """Pieces of text of one length that end at tokens on which a latent is active."""

    tokens: NDArray[np.int64]
    """`[n, length]`, BOS left out."""

    ranks: NDArray[np.int64]
    """`[n]`, rank of the last token of each among the counted tokens of its split."""

    values: NDArray[np.float64]
    """`[n]`, what the latent is there."""


class Written(NamedTuple):
    """What a model writes behind prompts."""

    clean: Int[Tensor, "n n_new"]
    """Left alone."""

    steered: Int[Tensor, "n n_new"]
    """With the direction added, by the same chance."""

    tuned: Tuned
    """How much of it, and what that does."""


def prompts(evidence: SplitEvidence, latent: int, n: int, length: int, rng: np.random.Generator) -> Prompts:
    """`n` prompts, or as many as there are: of those before whose end the latent is silent, or where these are too few
    of those with the fewest active tokens, as many of each tenth by the activation at the end."""
    column, tokens = evidence.column(latent), evidence.tokens
    ends = column.ranks[column.ranks >= length - 1]
    values = column.values[column.ranks >= length - 1]
    starts = ends - length + 1
    together = tokens.positions[ends] - tokens.positions[starts] == length - 1
    together &= tokens.documents[ends] == tokens.documents[starts]
    together &= tokens.positions[ends] // evidence.n_ctx == tokens.positions[starts] // evidence.n_ctx
    ends, values, starts = ends[together], values[together], starts[together]
    before = np.searchsorted(column.ranks, ends) - np.searchsorted(column.ranks, starts)
    most = 0 if (before == 0).sum() >= n else np.sort(before)[min(n, len(before)) - 1] if len(before) else 0
    kept = before <= most
    chosen = np.sort(drawn(ActiveWindows(ends[kept], values[kept]), "intervals", n, rng))
    ranks = ends[kept][chosen]
    rows = tokens.tokens[ranks[:, None] - np.arange(length)[::-1]].astype(np.int64)
    return Prompts(rows, ranks, values[kept][chosen])


def directions_of(subject: Subject, latent: int) -> Directions:
    """What one unit of a latent adds at each hook that its dictionary writes to."""
    number = torch.tensor([latent])
    return {hook: subject.latents.rows(number, hook)[0] for hook in subject.latents.written}


def random_directions(directions: Directions, rng: np.random.Generator) -> Directions:
    """Directions drawn at random, each as long as that in whose place it stands."""
    found = Directions()
    for hook, direction in directions.items():
        new = torch.tensor(rng.normal(size=len(direction)), dtype=torch.float32)
        found[hook] = new / new.norm() * direction.norm().cpu()
    return found


@torch.no_grad()
def written(subject: Subject, given: Prompts, directions: Directions, target: float, n_new: int, seed: int) -> Written:
    """What the model writes behind prompts, `n_new` tokens at temperature 1, with as much of the directions added as
    changes its next prediction by `target` nats on average over them."""
    model = subject.model
    start = torch.tensor(subject.start, dtype=torch.long).expand(len(given.tokens), -1)
    rows = torch.cat([start, torch.from_numpy(given.tokens)], dim=1)
    last = rows.shape[1] - 1
    kept = model.keep(rows, subject.latents.earliest)
    every, reference = torch.arange(len(rows)), kept.last[:, last]

    def divergence(strength: float) -> float:
        made = bound(_edits(directions, strength, last), last)
        changed = model.last(kept.of(every, last), made)[:, -1]
        found = changes(model, reference, changed[:, None], torch.zeros(len(rows), dtype=torch.long))
        return float(found.divergence.double().mean())

    found = tuned(divergence, target, start=_start(directions, kept.values[:, last]))
    seeds = [seed + place for place in range(len(rows))]
    by = torch.tensor([0.0] * len(rows) + [found.strength] * len(rows))
    both = generate(
        model,
        torch.cat([rows, rows]),
        n_new,
        edits=_edits(directions, by, last),
        temperature=1.0,
        seed=seeds * 2,
    )[:, last + 1 :]
    return Written(both[: len(rows)], both[len(rows) :], found)


def _edits(directions: Directions, by: float | Tensor, since: int) -> Edits:
    where = Where(since=torch.tensor([since]))
    return sum((add(hook, direction, by, where) for hook, direction in directions.items()), start=())


def _start(directions: Directions, values: Float[Tensor, "n d"]) -> float:
    """A strength at which what is added is about as large as what is there."""
    size = max(float(direction.float().norm()) for direction in directions.values())
    return max(1e-3, min(1e5, float(values.float().norm(dim=-1).mean()) / max(size, 1e-9)))
