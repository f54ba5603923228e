"""Pareto fronts: which dictionaries of a sweep no other one beats."""

from collections.abc import Sequence

from sparselex.atlas.records import SweepRow

_BETTER = {"core/fvu": 1, "core/loss_recovered_mean": -1}
"""Figures of a front, with the sign that makes less of them better."""


def fronts_of(row: SweepRow, rows: Sequence[SweepRow]) -> list[str]:
    """The figures among FVU and loss recovered in which `row` is not dominated by another dictionary on its hook."""
    others = [other for other in rows if other.hook == row.hook and other is not row]
    return [name for name in _BETTER if _is_on_front(row, others, name)]


def _is_on_front(row: SweepRow, others: Sequence[SweepRow], name: str) -> bool:
    own = _costs(row, name)
    if own is None:
        return False
    beside = [costs for other in others if (costs := _costs(other, name)) is not None]
    return not any(costs[0] <= own[0] and costs[1] <= own[1] and costs != own for costs in beside)


def _costs(row: SweepRow, name: str) -> tuple[float, float] | None:
    """L0 and the figure, less of both better; None where one of them was not measured."""
    l0, value = row.value("core/l0"), row.value(name)
    return None if l0 is None or value is None else (l0, _BETTER[name] * value)
