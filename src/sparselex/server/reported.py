"""Figures as pages show them: the report of one run beside its controls, and how often latents are active."""

from sparselex.base.errors import UserError
from sparselex.evaluate.records import DENSITY, DensityHistogram
from sparselex.evaluate.report import Report, report
from sparselex.server.opened import OpenWorkspace, parsed


def reported(opened: OpenWorkspace) -> Report | None:
    """The report as it was last written, or None."""
    return parsed(Report, opened.workspace.report)


def not_as_written(opened: OpenWorkspace, written: Report) -> str:
    """How the artifacts say otherwise than the report, by contents, so that copies stay fresh; empty if they do not."""
    try:
        now = report(opened.workspace, written.run)
    except UserError as error:
        return f"This report cannot be made again: {error.given}"
    name = opened.workspace.path.name
    old = f"This report is older than what it is about: “sparselex report {name}” writes it again."
    return "" if now == written else old


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    return parsed(DensityHistogram, opened.workspace.run(run) / "evaluation" / DENSITY)
