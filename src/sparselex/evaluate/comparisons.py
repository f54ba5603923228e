"""One dictionary against everything it is held against: by how much each figure differs, and whether that is beyond
doubt when all the questions asked are counted."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import Difference, Jackknife, difference
from sparselex.evaluate.records import Comparison, Influences, Verdict

LEVEL = 0.05
"""Chance that any of all verdicts of a report is wrong, if nothing differed."""


class Control(NamedTuple):
    """What a dictionary is held against."""

    figures: Mapping[str, Figure]
    """Its figures by name."""

    influences: Influences | None
    """What its figures owe to each document; None where that was not kept."""

    name: str
    """Whose those influences are among the ones kept."""


def comparisons(
    figures: Sequence[Figure], influences: Influences | None, controls: Mapping[str, Control]
) -> list[Comparison]:
    """Every figure with a better and a worse against that of every control, where both have intervals."""
    asked = [
        (figure, name, _between(figure, influences, control))
        for name, control in controls.items()
        for figure in figures
        if figure.better and _is_known(figure) and _is_known(control.figures.get(figure.name))
    ]
    decided = _holm([found.p for _, _, (found, _) in asked])
    return [
        Comparison(
            figure=figure.name,
            control=name,
            difference=found.value,
            low=_known(found.low),
            high=_known(found.high),
            paired=paired,
            p=found.p,
            verdict=_verdict(figure.better, found.value) if beyond_doubt else "undecided",
        )
        for (figure, name, (found, paired)), beyond_doubt in zip(asked, decided, strict=True)
    ]


def _between(figure: Figure, influences: Influences | None, control: Control) -> tuple[Difference, bool]:
    other = control.figures[figure.name]
    if influences and control.influences and influences.rows and influences.rows == control.influences.rows:
        mine, theirs = influences.of("", figure.name), control.influences.of(control.name, figure.name)
        if mine is not None and theirs is not None:
            effective = float(figure.n_effective or 0.0)
            one = Jackknife(float(figure.value or 0.0), np.array(mine), effective)
            return difference(one, Jackknife(float(other.value or 0.0), np.array(theirs), effective), paired=True), True
    return difference(_alone(figure), _alone(other), paired=False), False


def _alone(figure: Figure) -> Jackknife:
    """A figure of which only the standard error is known, as if every unit had its share of that."""
    n = max(2, round(figure.n_effective or 0))
    return Jackknife(float(figure.value or 0.0), np.full(n, (figure.se or 0.0) / np.sqrt(n)), float(n))


def _holm(ps: Sequence[float]) -> list[bool]:
    """Which of several differences are beyond doubt, so that the chance of any error among them is at most `LEVEL`."""
    decided, order = [False] * len(ps), np.argsort(ps, kind="stable")
    for place, number in enumerate(order):
        if ps[number] > LEVEL / (len(ps) - place):
            break
        decided[number] = True
    return decided


def _verdict(better: Better, value: float) -> Verdict:
    return "better" if (value > 0) == (better == "higher") else "worse"


def _is_known(figure: Figure | None) -> bool:
    return figure is not None and figure.value is not None and figure.ci_low is not None and figure.se is not None


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
