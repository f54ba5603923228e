"""What `sparselex evaluate ioi --occlusion` prints: whose values are found when the strong attribute is taken out."""

from pathlib import Path
from typing import Any

from sparselex.base.figures import Figure
from sparselex.base.formats import fixed, plain
from sparselex.cli.wide import WideTable
from sparselex.evaluate.occlusion.records import RANDOM, STRONG, Occlusion, sweeps_of


def occlusion_json(task: Path, *, asked: bool) -> dict[str, Any]:
    """The sweeps of a task as one more key of its JSON, where they were asked for."""
    sweeps = sweeps_of(task) if asked else None
    return {"occlusion": sweeps.to_json()} if sweeps else {}


def print_occlusion(console: Any, task: Path) -> None:
    """A table for each place, and why there is none at the others."""
    sweeps = sweeps_of(task)
    if sweeps is None:
        return
    for one in sweeps.found:
        console.print(_table(one))
    for place, why in sweeps.left_out.items():
        console.print(plain(f"no occlusion sweep at {place}: {why}"), highlight=False)


def _table(one: Occlusion) -> WideTable:
    alphas = [point.alpha for point in one.rows[0].of(STRONG)]
    title = f"{one.place.name}: values of {one.weak} found when {one.strong} is taken out"
    title += "; in brackets when random vectors of the same lengths are"
    columns = [f"{alpha:g}" for alpha in alphas]
    table = WideTable(title, ("dictionary", *columns, "slope", "above the null's", f"slope of {one.strong}"))
    for row in one.rows:
        both = zip(row.of(STRONG), row.of(RANDOM), strict=True)
        cells = [f"{_short(mine.weak)} ({_short(null.weak)})" for mine, null in both]
        slopes = (_with_null(row.weak_slope), _with_ends(row.weak_excess), _with_null(row.strong_slope))
        table.add_row(f"{row.name} {row.setting}".strip(), *cells, *slopes)
    return table


def _short(figure: Figure) -> str:
    return "not measured" if figure.value is None else fixed(figure.value, 2)


def _with_null(figure: Figure) -> str:
    return _short(figure) if figure.null is None else f"{_short(figure)} ({fixed(figure.null, 2)})"


def _with_ends(figure: Figure) -> str:
    if figure.ci_low is None or figure.ci_high is None:
        return _short(figure)
    return f"{_short(figure)}, {fixed(figure.ci_low, 2)} to {fixed(figure.ci_high, 2)}"
