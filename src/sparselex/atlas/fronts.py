"""Pareto fronts: which settings of a sweep no other one beats, and which are beaten by their control.

Dictionaries that differ in their seed alone are one point, the mean of them: which of them is luckiest says nothing of
the setting.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.atlas.records import SweepRow
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.base.intervals import Floats

_BETTER = {"core/fvu": 1, "core/loss_recovered_mean": -1}
"""Figures of a front, with the sign that makes less of them better."""

_BEYOND = 2.0
"""Standard errors of the difference of two means over seeds by which one setting must be better, where both have
several seeds."""


def fronts_of(row: SweepRow, rows: Sequence[SweepRow]) -> list[str]:
    """The figures among FVU and loss recovered in which the setting of `row` is not dominated by another one on its
    hook. A dictionary that was not measured is on no front."""
    settings: dict[str, list[SweepRow]] = {}
    for other in rows:
        if other.hook == row.hook:
            settings.setdefault(_setting(other), []).append(other)
    own = settings.pop(_setting(row))
    return [name for name in _BETTER if len(_costs([row], name)) and _is_on_front(own, list(settings.values()), name)]


def remarks_on(rows: Sequence[SweepRow], controls: Mapping[str, Sequence[Figure]]) -> list[str]:
    """In words, which settings are beaten by their control, principal components at their L0, under the control's name
    `<hook>/pca:<setting>`: better than all of a setting's seeds, and outside the interval of the best of them."""
    found = []
    for control, figures in controls.items():
        hook, _, setting = control.rpartition("/pca:")
        alike = [row for row in rows if row.hook == hook and row.name.rpartition("-s")[0] == setting]
        said = [words for figure in figures if figure.name in _BETTER and (words := _beaten(figure, alike))]
        if said:
            found.append(f"Principal components at the same L0 beat {setting} at {hook}: {', '.join(said)}.")
    return found


def _beaten(control: Figure, rows: Sequence[SweepRow]) -> str:
    sign, name = _BETTER[control.name], control.name
    own = [figure for row in rows for figure in row.figures if figure.name == name and figure.value is not None]
    if control.value is None or not own:
        return ""
    best = min(own, key=lambda figure: sign * (figure.value or 0.0))
    end = best.ci_low if sign > 0 else best.ci_high
    value = best.value if end is None else end
    is_beaten = value is not None and sign * control.value < sign * value
    words = name.removeprefix("core/").removesuffix("_mean").replace("_", " ")
    return f"{words} {number(control.value, 3)} against {number(best.value, 3)}" if is_beaten else ""


def _is_on_front(own: Sequence[SweepRow], others: Sequence[Sequence[SweepRow]], name: str) -> bool:
    mine = _costs(own, name)
    return not any(len(theirs := _costs(other, name)) and _dominates(theirs, mine) for other in others)


def _dominates(theirs: Floats, mine: Floats) -> bool:
    """Whether one setting has no more active latents than another, and is better beyond what seeds differ by."""
    (l0, cost), (own_l0, own_cost) = theirs.mean(0), mine.mean(0)
    of_seeds = sum(float(part[:, 1].var(ddof=1)) / len(part) for part in (theirs, mine) if len(part) > 1)
    is_other = (l0, cost) != (own_l0, own_cost)
    return bool(is_other and l0 <= own_l0 and cost <= own_cost - _BEYOND * of_seeds**0.5)


def _costs(rows: Sequence[SweepRow], name: str) -> Floats:
    """`[n_measured, 2]`: L0 and the figure, less of both better."""
    pairs = [(row.value("core/l0"), row.value(name)) for row in rows]
    found = [(l0, _BETTER[name] * value) for l0, value in pairs if l0 is not None and value is not None]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _setting(row: SweepRow) -> str:
    return str(sorted(row.settings.items()))
