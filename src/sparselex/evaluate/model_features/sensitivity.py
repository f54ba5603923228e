"""How much predictions move along latents, beside steps of the same length as activations differ.

For latent j at tokens where it is active, and a step of length l along its direction (that of its activation's sign):

    SR_j(l) = E KL(p(a) || p(a + l d_j)) / E_u E KL(p(a) || p(a + l u))

with u drawn as the difference of two activations: of a direction drawn so it is 1 on average, whatever the model.
Isotropic directions, which hardly move any model, would let everything pass (Lee and Heimersheim 2024,
arXiv:2410.12555). Unlike the output metric it sees thresholds, at the price of a pass for each step. `ablated` is the
same of the latent taken away, beside a step of that size. Among the controls are the latents with each other's
directions.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.base.estimates import Apart, median_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import generator
from sparselex.evaluate.model_features.asked import LATENTS, Active, Asked, by_group, unit
from sparselex.evaluate.model_features.moved import Along, moved
from sparselex.evaluate.model_features.records import KIND, SHUFFLED, Part

ABLATED = "ablated"
"""Name of the step that takes a latent away."""


class Ratios(NamedTuple):
    """Sums over tokens of how far predictions move, by groups of documents, directions and steps."""

    names: NDArray[np.int64]
    """`[m]`, the directions."""

    along: NDArray[np.float64]
    """`[n_groups, m, n_steps]`, along the directions; the last step takes them away."""

    beside: NDArray[np.float64]
    """The same along directions drawn as the activations vary, the mean over several."""

    null: NDArray[np.float64]
    """The same along one more of these, as if it were the direction."""

    def value(self) -> NDArray[np.float64]:
        """`[m, n_steps]`, the ratios."""
        return _ratio(self.along.sum(0), self.beside.sum(0))

    def of_null(self) -> NDArray[np.float64]:
        """`[m, n_steps]`, those of the directions drawn."""
        return _ratio(self.null.sum(0), self.beside.sum(0))

    def without(self) -> NDArray[np.float64]:
        """`[n_groups, m, n_steps]`, the ratios without each group."""
        return _ratio(self.along.sum(0) - self.along, self.beside.sum(0) - self.beside)


def sensitivity(asked: Asked) -> Part:
    """The sensitivity ratios of latents and of controls."""
    found = {name: ratios(asked, name) for name in (*asked.subjects, SHUFFLED)}
    figures = {name: list(_figures(one, asked)) for name, one in found.items()}
    own = found[LATENTS]
    values = own.value()
    measured = {
        name: {
            int(latent): float(one) for latent, one in zip(own.names, values[:, step], strict=True) if np.isfinite(one)
        }
        for step, name in enumerate(_names(asked))
    }
    return Part(figures=figures.pop(LATENTS), controls=figures, measured=measured)


def ratios(asked: Asked, name: str) -> Ratios:
    """Those of a subject's directions that are drawn."""
    active, n_beside = asked.drawn(name), asked.config.n_beside
    rows = asked.shuffled if name == SHUFFLED else asked.subjects[name]
    table = torch.cat([unit(rows), asked.beside])
    lengths = np.array(asked.config.lengths) * asked.typical
    sizes = np.abs(active.value).astype(np.float64) * rows.norm(dim=-1).double().numpy()[active.direction]
    positions, place = np.unique(active.position, return_inverse=True)
    n, n_steps = len(active.direction), len(lengths)
    # One more than is averaged over stands in for the direction.
    drawn = generator(asked.config.seed, "model features", "beside", name).integers(
        0, len(asked.beside), size=(len(positions), n_beside + 1)
    )
    sign = np.sign(active.value).astype(np.float64)
    steps = Along.join(
        [
            _each(active.position, active.direction, sign[:, None] * lengths),
            _each(active.position, active.direction, -(sign * sizes)[:, None]),
            *(_each(positions, len(rows) + column, np.tile(lengths, (len(positions), 1))) for column in drawn.T),
            *(_each(active.position, len(rows) + column[place], -sizes[:, None]) for column in drawn.T),
        ]
    )
    kl = moved(asked, steps.position, steps.steps(table), f"sensitivity of {name}").kl
    cut = np.cumsum([n * n_steps, n, (n_beside + 1) * len(positions) * n_steps])
    along, ablated, beside, beside_ablated = np.split(kl, cut)
    by_step = beside.reshape(n_beside + 1, len(positions), n_steps)[:, place]
    by_size = beside_ablated.reshape(n_beside + 1, n, 1)
    others = np.concatenate([by_step, by_size], axis=-1)
    mine = np.concatenate([along.reshape(n, n_steps), ablated[:, None]], axis=-1)
    return _sums(asked, active, mine, others[:-1].mean(0), others[-1])


def _each(position: NDArray[np.int64], row: NDArray[np.int64], lengths: NDArray[np.float64]) -> Along:
    """At every position every length of its own `[n, n_lengths]`."""
    n = lengths.shape[1]
    return Along(np.repeat(position, n), np.repeat(row, n), lengths.reshape(-1))


def _sums(asked: Asked, active: Active, *kinds: NDArray[np.float64]) -> Ratios:
    names, owner = np.unique(active.direction, return_inverse=True)
    groups, n = asked.groups(active.position), asked.documents.n_groups
    shape = n, len(names), kinds[0].shape[1]
    return Ratios(names, *(by_group(one, groups * len(names) + owner, n * len(names)).reshape(shape) for one in kinds))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = np.where(below > 0, above / below, np.nan)
    return found


def _names(asked: Asked) -> list[str]:
    return [f"{KIND}/sensitivity/{step}" for step in (*(f"{one:g}" for one in asked.config.lengths), ABLATED)]


def _figures(found: Ratios, asked: Asked) -> Iterator[Figure]:
    values, without, null = found.value(), found.without(), found.of_null()
    for step, name in enumerate(_names(asked)):
        known = np.isfinite(values[:, step])
        what = _words(asked, step)
        yield median_figure(
            name,
            values[known, step],
            f"median over latents of how far predictions move by {what}, at tokens where it is active, over how far "
            "they move by a step of that length as activations differ; null: one more direction of that kind in the "
            "latent's place",
            over="latents",
            apart=Apart(without[:, known, step], asked.documents.n_effective),
            null=float(np.nanmedian(null[:, step])) if known.any() else None,
            better="higher",
        )


def _words(asked: Asked, step: int) -> str:
    if step == len(asked.config.lengths):
        return "the latent taken away"
    return f"a step of {asked.config.lengths[step]:g} median distances of an activation from the mean along the latent"
