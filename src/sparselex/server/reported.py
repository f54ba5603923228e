"""Figures as pages show them: the report of one run beside its controls, other runs apart."""

from typing import NamedTuple

from sparselex.base.figures import Figure
from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.records import DensityHistogram, Evaluation
from sparselex.evaluate.report import Report, evaluation_of
from sparselex.server.opened import OpenWorkspace, parsed


class Reported(NamedTuple):
    """The report of one run."""

    run: str
    figures: list[Figure]
    """Figures of the run beside those of its controls."""
    verdicts: list[str]
    others: dict[str, dict[str, float]]
    """Values of runs that are no controls, by run and figure."""
    stale: list[str]
    """Artifacts whose figures are left out, since they were measured on something that has been replaced."""


def reported(opened: OpenWorkspace) -> Reported | None:
    """The report as it was last written, or None."""
    report = parsed(Report, opened.workspace.report)
    if report is None:
        return None
    run = _run_of(opened.workspace)
    others = [name for name, card in opened.cards().items() if name != run and getattr(card, "twin_of", None) != run]
    values = {name: {f.name: f.controls[name] for f in report.figures if name in f.controls} for name in others}
    return Reported(
        run=run,
        figures=[_without(figure, others) for figure in report.figures],
        verdicts=report.verdicts,
        others={name: found for name, found in values.items() if found},
        stale=[],
    )


def is_old(opened: OpenWorkspace) -> bool:
    """Whether some run's evaluation says otherwise than the report; by contents, so that copies stay fresh."""
    report, evaluated = parsed(Report, opened.workspace.report), _evaluated(opened.workspace)
    if report is None or not evaluated:
        return False
    run = _run_of(opened.workspace)
    known = {f.name: f.controls | ({run: f.value} if f.value is not None else {}) for f in report.figures}
    shown = {name: [f for f in found.figures if name == run or f.name in known] for name, found in evaluated.items()}
    return any(known.get(f.name, {}).get(name) != f.value for name, figures in shown.items() for f in figures)


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    found = evaluation_of(opened.workspace, run)
    return found.density if found else None


def _evaluated(workspace: Workspace) -> dict[str, Evaluation]:
    return {run: found for run in workspace.runs() if (found := evaluation_of(workspace, run))}


def _run_of(workspace: Workspace) -> str:
    """The run whose figures the report holds."""
    return next(iter(_evaluated(workspace)), MAIN)


def _without(figure: Figure, others: list[str]) -> Figure:
    controls = {name: value for name, value in figure.controls.items() if name not in others}
    return figure.model_copy(update={"controls": controls})
