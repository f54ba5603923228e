"""The report: the figures of one run, each beside its controls, and what they do not show."""

from collections.abc import Mapping, Sequence

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import write_json
from sparselex.base.workspace import Workspace
from sparselex.evaluate.gathered import gather, has_figures


class Report(Config):
    """What `report.json` holds."""

    run: str
    """The run whose figures these are."""

    figures: list[Figure]
    """Its figures, each with those of its controls: the runs that are twins of it, then control dictionaries."""

    verdicts: list[str]
    """Where its figures do and do not differ from those of its twins, in words."""

    others: dict[str, dict[str, float]]
    """Values of the figures of every other evaluated run, by run and by name of the figure; they are no controls."""

    stale: list[str]
    """Artifacts whose figures are left out, since they were measured on another dictionary or index than their run has
    now; those of other runs with the run's name before them, as in `twin/evaluation`."""


def report(workspace: Workspace, run: str | None = None) -> Report:
    """The figures of one run beside its controls, from the artifacts that hold figures.

    Without `run` it is `main`, or where that has no figures the first run that is no twin, if there is one. Raises
    `UserError` if there is no such run, or it has no figures.
    """
    evaluated = evaluated_runs(workspace)
    run = run or _default(workspace, evaluated)
    of_what = {name: workspace.card(name).twin_of for name in (*evaluated, run)}
    if run not in evaluated:
        raise _nothing(workspace, f"Run {run!r} of {workspace.path} has no figures.", f" --run {run}")
    found = {name: gather(workspace, name) for name in evaluated}
    twins = [name for name in evaluated if of_what[name] == run]
    controls = {name: found[name].figures for name in twins} | found[run].controls
    by_name = {name: {figure.name: figure for figure in part} for name, part in controls.items()}
    return Report(
        run=run,
        figures=[_with_controls(figure, by_name) for figure in found[run].figures],
        verdicts=_verdicts(workspace, found[run].figures, {name: by_name[name] for name in twins}),
        others={name: _values(found[name].figures) for name in evaluated if name not in (run, *twins)},
        stale=[name if owner == run else f"{owner}/{name}" for owner, part in found.items() for name in part.stale],
    )


def write_report(workspace: Workspace) -> Report:
    """The report of the run that is meant where none is named, written to `report.json`. Raises like `report`."""
    found = report(workspace)
    write_json(workspace.report, found.to_json())
    return found


def evaluated_runs(workspace: Workspace) -> list[str]:
    """Names of the runs that have figures, `main` first."""
    return [name for name in workspace.runs() if has_figures(workspace, name)]


def _default(workspace: Workspace, evaluated: Sequence[str]) -> str:
    if not evaluated:
        raise _nothing(workspace, f"{workspace.path} holds no evaluated run.")
    # `main` comes first; a twin that is all there is, is shown as well.
    return next((name for name in evaluated if workspace.card(name).twin_of is None), evaluated[0])


def _nothing(workspace: Workspace, given: str, option: str = "") -> UserError:
    return UserError(
        given,
        "a run that went through harvest or demo, train, index, explain and evaluate",
        f"run `sparselex evaluate {workspace.typed}{option}`.",
    )


def _with_controls(figure: Figure, controls: Mapping[str, Mapping[str, Figure]]) -> Figure:
    values = {name: part[figure.name].value for name, part in controls.items() if figure.name in part}
    return figure.model_copy(update={"controls": {name: value for name, value in values.items() if value is not None}})


def _values(figures: Sequence[Figure]) -> dict[str, float]:
    return {figure.name: figure.value for figure in figures if figure.value is not None}


def _verdicts(workspace: Workspace, figures: Sequence[Figure], twins: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    if not twins:
        return ["No random twin was run: no verdict."]
    found = []
    for name, twin in twins.items():
        found += verdicts(figures, twin, f"{name} ({workspace.card(name).twin} weights)")
    return [*found, "Loss recovered means little on a random model: it has no loss worth recovering."]


def verdicts(figures: Sequence[Figure], twin: Mapping[str, Figure], who: str) -> list[str]:
    """One sentence on the figures whose intervals lie apart from those of the twin `who`, one on those whose intervals
    overlap with them."""
    apart: list[str] = []
    alike: list[str] = []
    for figure in figures:
        overlap = _overlap(figure, twin[figure.name]) if figure.name in twin else None
        if overlap is not None:
            (alike if overlap else apart).append(figure.name)
    return [
        f"Clearly different from {who}, intervals apart: {', '.join(apart) or 'none'}.",
        f"Not clearly different from {who}, intervals overlap: {', '.join(alike) or 'none'}.",
    ]


def _overlap(one: Figure, other: Figure) -> bool | None:
    """Whether two intervals overlap; None where one of them is not known."""
    if one.ci_low is None or one.ci_high is None or other.ci_low is None or other.ci_high is None:
        return None
    return one.ci_low <= other.ci_high and other.ci_low <= one.ci_high
