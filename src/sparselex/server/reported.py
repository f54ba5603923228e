"""Figures as pages show them: the report of one run beside its controls, and how often latents are active."""

from itertools import groupby

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import remembered
from sparselex.base.runs import RunCard
from sparselex.evaluate.config import control_words
from sparselex.evaluate.gathered import gather
from sparselex.evaluate.records import DENSITY, DensityHistogram, Report
from sparselex.evaluate.report import evaluated_runs, report
from sparselex.evaluate.twins import words_of
from sparselex.server.opened import OpenWorkspace


class FigureGroup(Config):
    """Figures whose names begin alike."""

    name: str
    """Beginning of the names, such as `core`."""

    figures: list[Figure]
    """The figures with their controls."""


class FiguresApart(Config):
    """Figures of a run that the reported one has not."""

    groups: list[FigureGroup]
    """The figures, beside that run's own controls."""

    controls: dict[str, str]
    """What each control is, in the order of the table's columns."""


def reported(opened: OpenWorkspace) -> Report | None:
    """The report as it was last written, or None."""
    path = opened.workspace.report
    return remembered(path, Report.from_file) if path.is_file() else None


def not_as_written(opened: OpenWorkspace, written: Report) -> str:
    """How the artifacts say otherwise than the report, by contents, so that copies stay fresh; empty if they do not."""
    try:
        now = report(opened.workspace, written.run)
    except UserError as error:
        return f"This report cannot be made again: {error.given}"
    command = f"sparselex report {opened.workspace.typed}"
    old = f"This report is not what its figures say now: “{command}” writes it again."
    return "" if now == written else old


def grouped(figures: list[Figure]) -> list[FigureGroup]:
    """Figures in their order, gathered by all of their name but the last part."""
    parts = groupby(figures, key=lambda figure: figure.name.rpartition("/")[0])
    return [FigureGroup(name=name, figures=list(found)) for name, found in parts]


def controls_of(opened: OpenWorkspace, figures: list[Figure], cards: list[RunCard]) -> dict[str, str]:
    """Runs first."""
    names = dict.fromkeys(name for figure in figures for name in figure.controls)
    twins = {card.name: f"a run of its own: {words_of(opened.workspace, card)}" for card in cards if card.twin_of}
    found = {name: twins[name] for name in names if name in twins}
    return found | {name: control_words(name) for name in names if name not in twins}


def shared(written: Report) -> dict[str, dict[str, float]]:
    """Of the other runs, the figures that the reported one has too."""
    known = {figure.name for figure in written.figures}
    found = {
        run: {name: value for name, value in values.items() if name in known} for run, values in written.others.items()
    }
    return {run: values for run, values in found.items() if values}


def apart(opened: OpenWorkspace, written: Report, cards: list[RunCard]) -> dict[str, FiguresApart]:
    """What another run, or a control itself, went through and the reported run did not."""
    known, found = {figure.name for figure in written.figures}, {}
    for run in evaluated_runs(opened.workspace):
        if run == written.run or known.issuperset(figure.name for figure in gather(opened.workspace, run).figures):
            continue
        figures = [figure for figure in report(opened.workspace, run).figures if figure.name not in known]
        found[run] = FiguresApart(groups=grouped(figures), controls=controls_of(opened, figures, cards))
    return found


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    return opened.record(DensityHistogram, run, "evaluation", DENSITY)
