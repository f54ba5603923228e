"""Figures as pages show them: the report of one run beside its controls, and how often latents are active."""

from sparselex.base.errors import UserError
from sparselex.base.files import remembered
from sparselex.evaluate.records import DENSITY, DensityHistogram
from sparselex.evaluate.report import Report, report
from sparselex.server.opened import OpenWorkspace


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


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    return opened.record(DensityHistogram, run, "evaluation", DENSITY)
