"""Figures of one dictionary, or of a few that differ in their seed, against known features."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.estimates import estimate
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.evaluate.synthetic.formulas import FORMULAS, SAMPLES, Formula, Sums
from sparselex.evaluate.synthetic.measured import Measured

PREFIX = "synthetic/"

LEAST_SEEDS = 3
"""Seeds from which an interval is over these as well."""


def figures(
    found: Sequence[Measured], *, nulls: Mapping[str, float], controls: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Figure]:
    """Every measure of dictionaries that were trained alike with different seeds, by name.

    The value is the mean over seeds. Its interval is over held-out samples (latents, pairs or features, where a measure
    is of these), and with three seeds or more over seeds besides.

    Args:
        found: one measured dictionary a seed.
        nulls: the same measures where there is nothing to be found.
        controls: the same measures of control dictionaries, by measure and control.
    """
    values = controls or {}
    return {
        name: _figure(name, formula, found, nulls.get(name)).model_copy(update={"controls": dict(values.get(name, {}))})
        for name, formula in FORMULAS.items()
    }


def values_of(found: Measured) -> dict[str, float]:
    """Every measure of one dictionary as a plain number; what is not finite is left out."""
    values = {name: value_of(found, name) for name in FORMULAS}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def value_of(found: Measured, name: str) -> float:
    """One measure of one dictionary; NaN where it has no value."""
    sums = FORMULAS[name].sums(found)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(sums.value(sums.per_unit.sum(0)))


def _figure(name: str, formula: Formula, found: Sequence[Measured], null: float | None) -> Figure:
    each = [formula.sums(one) for one in found]
    per_unit, seeds = _beside_each_other(each, of_all_seeds=formula.over == SAMPLES)
    widths = [one.per_unit.shape[1] + 1 for one in each]

    def value(summed: Floats) -> Floats | np.float64:
        parts = np.split(summed, np.cumsum(widths)[:-1], axis=-1)
        values = np.stack([one.value(part[..., 1:]) for one, part in zip(each, parts, strict=True)], axis=-1)
        there = np.stack([part[..., 0] > 0 for part in parts], axis=-1)
        return np.where(there, values, 0).sum(-1) / there.sum(-1)

    n_seeds = len(found)
    words = formula.words if n_seeds == 1 else f"{formula.words}; mean over {n_seeds} seeds"
    return estimate(
        f"{PREFIX}{name}",
        per_unit,
        value,
        words,
        over=formula.over,
        share=formula.share,
        also=("seeds", seeds) if n_seeds >= LEAST_SEEDS else None,
        n=sum(one.n for one in each),
        null=null,
        better=formula.better,
    ).figure


def _beside_each_other(each: Sequence[Sums], *, of_all_seeds: bool) -> tuple[Floats, Floats]:
    """What units contribute, and what seeds do: the columns of one seed behind those of another, each led by a column
    that says whether the seed is there at all. Units that are `of_all_seeds` are left out of all at once; latents are
    each seed's own."""
    led = [np.concatenate([np.ones((len(one.per_unit), 1)), one.per_unit], axis=1) for one in each]
    seeds = _diagonal([one.sum(0, keepdims=True) for one in led])
    return (np.concatenate(led, axis=1) if of_all_seeds else _diagonal(led)), seeds


def _diagonal(blocks: Sequence[Floats]) -> Floats:
    """Blocks of rows, each in columns of its own."""
    widths = [block.shape[1] for block in blocks]
    starts = np.cumsum([0, *widths])
    return np.concatenate(
        [
            np.pad(block, ((0, 0), (int(start), int(starts[-1] - start - block.shape[1]))))
            for block, start in zip(blocks, starts, strict=False)
        ]
    )
