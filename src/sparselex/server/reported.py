"""Figures as pages show them: the report of a run beside its controls, and how often latents are active."""

from itertools import groupby

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import remembered
from sparselex.base.runs import RunCard
from sparselex.base.workspace import MAIN
from sparselex.evaluate.against import AGAINST, AgainstControls
from sparselex.evaluate.against import KIND as CONTROLS
from sparselex.evaluate.config import control_words
from sparselex.evaluate.gathered import EXPLANATIONS, fresh
from sparselex.evaluate.records import DENSITY, DensityHistogram, Report
from sparselex.evaluate.report import report
from sparselex.evaluate.twins import words_of
from sparselex.server.opened import OpenWorkspace


class FigureGroup(Config):
    """Figures whose names begin alike."""

    name: str
    """Beginning of the names, such as `core`."""

    figures: list[Figure]
    """The figures with their controls."""


class Apart(Config):
    """Figures of a run that lie outside of its folder."""

    name: str
    """The artifact that they are of, such as `pairs/main-jacobian`, which is also the address of its page."""

    controls: list[str]
    """What its controls are called."""

    figures: list[Figure]
    """The figures with these controls."""


def reported(opened: OpenWorkspace, run: str) -> Report | None:
    """The report of a run as it was last written, or None. Raises `UserError` if it cannot be read."""
    meant = opened.workspace.report
    if meant.is_file() and (found := remembered(meant, Report.from_file)).run == run:
        return found
    path = opened.workspace.report_of(run)
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


def against_controls(opened: OpenWorkspace, run: str) -> tuple[AgainstControls | None, str]:
    """A run's explanations against those of its controls, or why they are not; neither for a control, and for a run
    without explanations. Raises `UserError` where that cannot be read."""
    card = opened.card(run)
    if card.twin_of is not None or not any(opened.has(run, name) for name in EXPLANATIONS):
        return None, ""
    command = f"`sparselex {CONTROLS} {opened.workspace.typed}{'' if run == MAIN else f' --run {run}'}`"
    if not opened.has(run, CONTROLS):
        return None, f"Not measured: {command} explains and scores neurons, random directions and twins as well."
    if stale := fresh(opened.workspace, run, card)[1].get(CONTROLS):
        return None, f"Not measured any more: {stale}."
    return opened.record(AgainstControls, run, CONTROLS, AGAINST), ""


def grouped(figures: list[Figure]) -> list[FigureGroup]:
    """Figures in their order, gathered by all of their name but the last part."""
    parts = groupby(figures, key=lambda figure: figure.name.rpartition("/")[0])
    return [FigureGroup(name=name, figures=list(found)) for name, found in parts]


def controls_of(opened: OpenWorkspace, figures: list[Figure], cards: list[RunCard]) -> dict[str, str]:
    """What each control of the figures is, by name: runs first, in words of their own."""
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


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    return opened.record(DensityHistogram, run, "evaluation", DENSITY)
