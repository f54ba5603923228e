"""Pareto fronts: which dictionaries of a sweep no other one beats."""

from collections.abc import Sequence

from sparselex.atlas.records import SweepRow


def fronts_of(row: SweepRow, rows: Sequence[SweepRow]) -> list[str]:
    """The figures among FVU and loss recovered in which `row` is not dominated by another dictionary on its hook."""
    found = []
    for name, sign in (("core/fvu", 1), ("core/loss_recovered_mean", -1)):
        l0, value = row.value("core/l0"), row.value(name)
        if l0 is None or value is None:
            continue
        others = [
            (other.value("core/l0"), other.value(name)) for other in rows if other.hook == row.hook and other is not row
        ]
        better = any(
            a is not None and b is not None and a <= l0 and sign * b <= sign * value and (a, b) != (l0, value)
            for a, b in others
        )
        if not better:
            found.append(name)
    return found
