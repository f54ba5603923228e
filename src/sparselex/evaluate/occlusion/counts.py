"""Which values of an attribute some latent stands for, and how their share goes with what is taken out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import estimate, mean_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.meaning import f1_of

Found = Float[NDArray[np.float64], "n_seeds n_values"]
"""Of each seed and value whether it is found, or in how many of the nodes."""


def found_values(
    fires: Bool[Tensor, "n d_sae"],
    tested: Bool[Tensor, "m d_sae"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]],
    n_values: int,
    least: float,
) -> Bool[Tensor, " n_occurring"]:
    """Of each value that occurs among both kinds of prompts whether the latent that is best for it on the first has an
    F1 above `least` on the tested ones."""
    best = f1_of(fires, labels[0], n_values).argmax(0)
    held_out = f1_of(tested, labels[1], n_values)[best, torch.arange(n_values)]
    occurs = torch.stack([torch.bincount(column, minlength=n_values) for column in labels]).amin(0) > 0
    return held_out[occurs] > least


class Swept(NamedTuple):
    """One attribute, with something subtracted by degrees."""

    alphas: Sequence[float]
    """How much, ascending."""

    found: Sequence[Found]
    """What was found at each."""

    @property
    def slopes(self) -> NDArray[np.float64]:
        """`[n_seeds, n_values]` least-squares slopes of what is found against how much is subtracted."""
        at = np.array(self.alphas) - np.mean(self.alphas)
        return np.tensordot(at / np.square(at).sum(), np.stack(self.found), axes=1)


def share_figure(name: str, found: Found, by_chance: Found, attribute: str, least: float) -> Figure:
    """Share of the values that are found, over values."""
    return mean_figure(
        name,
        found.mean(0),
        f"share of the values of {attribute} for which the latent that is best on the prompts that the dictionary is "
        f"made of has an F1 above {least:g} on tested ones, mean over {len(found)} seeds; null: random directions that "
        "fire as often",
        over=f"values of {attribute}",
        share=True,
        null=float(by_chance.mean()),
    )


def slope_figure(name: str, mine: Swept, null: Swept, attribute: str) -> Figure:
    """How the share that is found goes with what is subtracted."""
    words = f"least-squares slope of the share of the values of {attribute} that are found against how much of the "
    words += "strong attribute's vector is subtracted; null: random vectors of the same lengths in its place"
    return _slope(name, mine.slopes, words, attribute, float(null.slopes.mean()))


def excess_figure(name: str, mine: Swept, null: Swept, attribute: str) -> Figure:
    """The same, less that of the null, value by value."""
    words = (
        f"slope of the share of the values of {attribute} that are found against how much of the strong attribute's "
    )
    words += "vector is subtracted, less the slope with random vectors of the same lengths"
    return _slope(name, mine.slopes - null.slopes, words, attribute, 0.0)


def _slope(name: str, slopes: NDArray[np.float64], words: str, attribute: str, null: float) -> Figure:
    with_ones = lambda column: np.stack([column, np.ones(len(column))], axis=1)
    n_seeds = len(slopes)
    also = ("seeds", with_ones(slopes.mean(1))) if n_seeds > 1 else None
    ratio = lambda sums: sums[..., 0] / sums[..., 1]
    over = f"values of {attribute}"
    return estimate(name, with_ones(slopes.mean(0)), ratio, words, over=over, also=also, null=null).figure
