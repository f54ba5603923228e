"""Test 1, approximation: whether reconstructions are enough for the task, and whether what they leave out is not
(Makelov, Lange and Nanda 2024, arXiv:2405.08366, section 4.1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.nodes import Bench, Node, Said, Values

LEAST_EFFECT = 0.1
"""Share of the clean logit difference that ablation to the mean must take away: of less nothing is divided by it."""


class Approximated(NamedTuple):
    """Logit differences of the same prompts."""

    clean: NDArray[np.float64]
    """As the model is."""

    ablated: NDArray[np.float64]
    """With the mean in the place of every value."""

    enough: NDArray[np.float64]
    """With reconstructions."""

    without: NDArray[np.float64]
    """With the mean and what reconstructions leave out."""


def approximated(
    bench: Bench, clean: Said, ablated: Said, values: Values, x_hats: Sequence[Values], means: Values
) -> list[Approximated]:
    """What the model makes of each of some reconstructions, and of what they leave out, at all nodes at once."""
    left: list[dict[Node, Float[Tensor, "n d"]]] = [
        {node: means[node] + values[node] - reconstructed for node, reconstructed in x_hat.items()} for x_hat in x_hats
    ]
    return approximated_by(bench, clean, ablated, x_hats, left)


def approximated_by(
    bench: Bench, clean: Said, ablated: Said, enough: Sequence[Values], without: Sequence[Values]
) -> list[Approximated]:
    """What the model makes of what should be enough, and of what it should not do without."""
    says = bench.with_each([*enough, *without])
    return [
        Approximated(clean.difference, ablated.difference, one.difference, other.difference)
        for one, other in zip(says[: len(enough)], says[len(enough) :], strict=True)
    ]


def sufficiency(name: str, found: Approximated) -> Figure:
    """Mean logit difference with reconstructions over that of the model as it is: 1 is enough, more is too much."""
    return figure_of(
        f"{name}/sufficiency",
        np.stack([found.enough, found.clean], axis=1),
        lambda sums: sums[..., 0] / sums[..., 1],
        "mean logit difference with reconstructions at all nodes, divided by that of the model as it is",
        over="prompts",
        null=float(found.ablated.sum() / found.clean.sum()),
    )


def necessity(name: str, found: Approximated) -> Figure:
    """1 - (with what is left out - ablated) / (clean - ablated), signed: 1 where what reconstructions leave out does
    nothing for the task, 0 where it does all that the site does, above 1 where it works against it."""
    effect = found.clean.sum() - found.ablated.sum()
    small = abs(effect) < LEAST_EFFECT * abs(found.clean.sum())
    return figure_of(
        f"{name}/necessity",
        np.stack([found.without, found.ablated, found.clean], axis=1),
        lambda sums: 1 - (sums[..., 0] - sums[..., 1]) / (sums[..., 2] - sums[..., 1]),
        "1 less the share of the ablation's effect (mean logit difference as it is, less that with the mean at all "
        "nodes) that comes back with what reconstructions leave out",
        over="prompts",
        null=0.0,
        undefined="ablation to the mean takes less than a tenth of the logit difference" if small else "",
    )
