"""The report: the figures of one run, each beside its controls, and what they do not show."""

from collections.abc import Mapping, Sequence

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import write_json
from sparselex.base.workspace import Workspace
from sparselex.evaluate.comparisons import Comparison, Control, comparisons
from sparselex.evaluate.config import control_words
from sparselex.evaluate.gathered import gather, has_figures
from sparselex.evaluate.verdicts import verdicts


class Report(Config):
    """What `report.json` holds."""

    run: str
    """The run whose figures these are."""

    figures: list[Figure]
    """Its figures, each with those of its controls: the runs that are twins of it, then control dictionaries."""

    controls: dict[str, list[Figure]] = {}
    """The figures of these controls themselves, with their intervals, by control."""

    comparisons: list[Comparison] = []
    """Every figure of which some values are better than others, against that of every control."""

    verdicts: list[str]
    """What follows from them, in words, the worst first."""

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
    held_against = {
        name: Control(part, found[name].influences, "") if name in twins else Control(part, found[run].influences, name)
        for name, part in by_name.items()
    }
    compared = comparisons(found[run].figures, found[run].influences, held_against)
    return Report(
        run=run,
        figures=[_with_controls(figure, by_name) for figure in found[run].figures],
        controls=controls,
        comparisons=compared,
        verdicts=verdicts(
            found[run],
            compared,
            {name: _who(workspace, name, twins) for name in controls},
            has_twin=bool(twins) or of_what[run] is not None,
        ),
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


def _who(workspace: Workspace, name: str, twins: Sequence[str]) -> str:
    return f"{name} ({workspace.card(name).twin} weights)" if name in twins else control_words(name)
