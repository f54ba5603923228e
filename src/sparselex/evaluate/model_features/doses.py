"""What steering by a latent does for what it costs: latents at equal divergence, not at equal length.

Each latent is added at tokens drawn at random until what is predicted has moved by a given mean divergence. Which next
tokens it is for is found on one half of the tokens, at the smallest dose: those whose probability rises most. On the
other half is told how much more probable these are, and which part of all that changes they are, beside another latent
of the same dictionary that was steered to the same divergence: what any direction of the dictionary does for these
tokens. That a latent does more than another does not say that it does it the way its label says.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import median_figure
from sparselex.base.figures import Figure
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.evaluate.model_features.asked import LATENTS, Asked, unit
from sparselex.evaluate.model_features.moved import Along, moved
from sparselex.evaluate.model_features.records import KIND, Part
from sparselex.evaluate.versions import LOGITS, Versions, in_rows

_TARGETS = 10
"""Next tokens that a latent is for."""

_LATENTS = 64
"""Latents that are steered, of those that are drawn."""

_ROUNDS = 8
"""How often strengths are corrected."""

_STEP = 8.0
"""By how much a strength changes at most in a round, as a factor."""


class _Steered(NamedTuple):
    """A dose, and what it did."""

    divergence: NDArray[np.float64]
    """`[m]`, the mean divergence of each latent."""

    on_target: NDArray[np.float64]
    """`[m]`, by how much the probability of its next tokens rises, the mean over tokens."""

    by_other: NDArray[np.float64]
    """`[m]`, the same by the latent that it is held against."""

    changed: NDArray[np.float64]
    """`[m]`, how much probability moves, all in all."""


def doses(asked: Asked) -> Part:
    """Steering of latents that are drawn."""
    names = np.unique(asked.drawn(LATENTS).direction)
    rng = generator(asked.config.seed, "model features", "dose")
    names = np.sort(rng.permutation(names)[:_LATENTS])
    positions = asked.test[2][rng.permutation(asked.tokens(2 * asked.config.n_places, "dose"))]
    if len(names) < 2 or len(positions) < 4:
        return Part()
    table, sign = unit(asked.directions), _signs(asked, names)
    halves = np.array_split(positions, 2)
    targets: Tensor | None = None
    figures = list[Figure]()
    for dose in sorted(asked.config.doses):
        lengths = sign * _tuned(asked, names, halves[1], table, sign, dose)
        if targets is None:
            first = sign * _tuned(asked, names, halves[0], table, sign, dose)
            targets = _changes(asked, names, halves[0], table, first).topk(_TARGETS, dim=-1).indices
        figures += _figures(_steered(asked, names, halves[1], table, lengths, targets), dose)
    return Part(figures=figures)


def _signs(asked: Asked, names: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[m]`, the side on which each latent is mostly active."""
    active = asked.drawn(LATENTS)
    sums = np.zeros(asked.dictionary.d_sae)
    np.add.at(sums, active.direction, np.sign(active.value))
    return np.where(sums[names] < 0, -1.0, 1.0)


def _tuned(
    asked: Asked,
    names: NDArray[np.int64],
    positions: NDArray[np.int64],
    table: Tensor,
    sign: NDArray[np.float64],
    dose: float,
) -> NDArray[np.float64]:
    """`[m]`, lengths at which each direction moves what is predicted by about this divergence: the logarithm of one is
    taken to be linear in that of the other, as it is for small steps."""
    length = np.full(len(names), asked.typical * np.sqrt(dose))
    best, nearest = length.copy(), np.full(len(names), np.inf)
    for _ in range(_ROUNDS):
        found = _divergences(asked, names, positions, table, sign * length)
        away = np.abs(np.log(found.clip(min=1e-12) / dose))
        best, nearest = np.where(away < nearest, length, best), np.minimum(away, nearest)
        if (nearest < 0.1).all():
            break
        length = length * np.clip(np.sqrt(dose / found.clip(min=1e-12)), 1 / _STEP, _STEP)
    return best


def _divergences(
    asked: Asked, names: NDArray[np.int64], positions: NDArray[np.int64], table: Tensor, lengths: NDArray[np.float64]
) -> NDArray[np.float64]:
    steps = _all(names, positions, lengths)
    kl = moved(asked, steps.position, steps.steps(table), "doses", n_after=0).kl
    found: NDArray[np.float64] = kl.reshape(len(names), len(positions)).mean(1)
    return found


def _all(names: NDArray[np.int64], positions: NDArray[np.int64], lengths: NDArray[np.float64]) -> Along:
    """Every latent at every token."""
    n = len(positions)
    return Along(np.tile(positions, len(names)), np.repeat(names, n), np.repeat(lengths, n))


def _steered(
    asked: Asked,
    names: NDArray[np.int64],
    positions: NDArray[np.int64],
    table: Tensor,
    lengths: NDArray[np.float64],
    targets: Int[Tensor, "m n_targets"],
) -> _Steered:
    changed = _changes(asked, names, positions, table, lengths)
    # Each is held against the next one, the last against the first.
    others = changed.roll(-1, dims=0)
    on = lambda values: values.gather(1, targets).sum(1).double().numpy()
    divergence = _divergences(asked, names, positions, table, lengths)
    return _Steered(divergence, on(changed), on(others), changed.clamp_min(0).sum(1).double().numpy())


@torch.no_grad()
def _changes(
    asked: Asked, names: NDArray[np.int64], positions: NDArray[np.int64], table: Tensor, lengths: NDArray[np.float64]
) -> Float[Tensor, "m n_vocab"]:
    """By how much each latent changes the probability of every next token, the mean over tokens."""
    steps, n_ctx, model = _all(names, positions, lengths), asked.reader.corpus.n_ctx, asked.model
    vectors, found = steps.steps(table), torch.zeros(len(names), model.n_vocab)
    most = max(1, LOGITS // model.n_vocab)
    with progress("dose", len(steps.position), "steps") as bar:
        for part in in_rows(steps.position, n_ctx, asked.reader.batch_rows):
            rows = np.unique(steps.position[part] // n_ctx)
            versions = Versions.of(asked.reader, model, rows, (asked.hook,), 0)
            of = lambda some, part=part: {asked.hook: vectors(part[some])}
            for numbers, last in versions.last(steps.position[part], of):
                for some in np.split(np.arange(len(numbers)), np.arange(most, len(numbers), most)):
                    which = part[numbers[some]]
                    before = model.predict(versions.plain(steps.position[which])).float().softmax(-1)
                    after = model.predict(last[torch.from_numpy(some).to(last.device), 0]).float().softmax(-1)
                    found.index_add_(0, torch.from_numpy(which // len(positions)), (after - before).cpu())
                bar.advance(len(numbers))
    return found / len(positions)


def _figures(found: _Steered, dose: float) -> list[Figure]:
    at = f"at a mean divergence of {dose:g} nats, latents that could not be brought within a tenth of it left out"
    near = np.abs(np.log(found.divergence.clip(min=1e-12) / dose)) < 0.1
    share = np.divide(found.on_target, found.changed, out=np.zeros(len(near)), where=found.changed > 0)
    by_other = np.divide(found.by_other, found.changed, out=np.zeros(len(near)), where=found.changed > 0)
    return [
        median_figure(
            f"{KIND}/dose/{dose:g}",
            found.on_target[near],
            f"median over latents of by how much the {_TARGETS} next tokens that a latent is for, found on other "
            f"tokens, grow more probable under steering {at}; null: under another latent's, to the same divergence",
            over="latents",
            null=float(np.median(found.by_other[near])) if near.any() else None,
            better="higher",
        ),
        median_figure(
            f"{KIND}/dose_specific/{dose:g}",
            share[near],
            f"median over latents of the part of all probability that moves which goes to these tokens {at}; null: "
            "another latent's, to the same divergence",
            over="latents",
            null=float(np.median(by_other[near])) if near.any() else None,
            better="higher",
        ),
    ]
