"""Recall by strength: what is said of active windows from the weakest tenth to the strongest (Paulo et al. 2024,
section 4). An explanation made of the strongest examples often says nothing of the rest."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats

TENTHS = 10

_WORDS = ("weakest", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "strongest")


def recall_by_tenth(judged: Sequence[tuple[float, float | None]]) -> Floats:
    """`[10]`, share of the active windows of each tenth that are said to fit, from the weakest; NaN where none is, and
    of fewer than ten of which there are no tenths.

    Args:
        judged: of every window its largest activation, 0 where it is not active, and what was said from 0 to 1. They
            are drawn evenly from all tenths of the active ones, so that those of a tenth are a tenth of these.
    """
    active = sorted((one for one in judged if one[0] > 0), key=lambda one: one[0])
    if len(active) < TENTHS:
        return np.full(TENTHS, np.nan)
    tenth = np.arange(len(active)) * TENTHS // len(active)
    said = np.array([np.nan if one[1] is None else one[1] for one in active], dtype=float)
    there = ~np.isnan(said)
    n, fits = (np.bincount(tenth[which], minlength=TENTHS) for which in (there, there & (said > 0.5)))
    return np.divide(fits, n, out=np.full(TENTHS, np.nan), where=n > 0)


def tenth_figures(
    path: str, judged: Mapping[int, Sequence[tuple[float, float | None]]], null: float | None, empty: str
) -> list[Figure]:
    """The mean over latents of the recall of each tenth, as `path/recall_tenth_1`, the weakest, to `_10`.

    `null` is the share of silent windows that are said to fit, which is what a judge reaches who says it as often of
    any window; `empty` says why there is nothing.
    """
    by_latent = np.array([recall_by_tenth(found) for found in judged.values()]).reshape(-1, TENTHS)
    return [
        mean_figure(
            f"{path}/recall_tenth_{tenth + 1}",
            by_latent[:, tenth][~np.isnan(by_latent[:, tenth])],
            f"mean over judged latents of the share of active windows that are said to fit, of the {_WORDS[tenth]} "
            "tenth of them by their largest activation; the null is the share of silent windows that are",
            over="latents",
            share=True,
            null=null,
            better="higher",
            empty=empty,
        )
        for tenth in range(TENTHS)
    ]
