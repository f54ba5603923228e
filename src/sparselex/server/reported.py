"""Figures as pages show them: the report of one run beside its controls, and how often latents are active."""

from sparselex.base.workspace import Workspace
from sparselex.evaluate.records import DENSITY, DensityHistogram
from sparselex.evaluate.report import Report, evaluated_runs, report
from sparselex.server.opened import OpenWorkspace, parsed


def reported(opened: OpenWorkspace) -> Report | None:
    """The report as it was last written, or None."""
    return parsed(Report, opened.workspace.report)


def is_old(opened: OpenWorkspace, written: Report) -> bool:
    """Whether the artifacts say otherwise than the report; by contents, so that copies stay fresh."""
    workspace: Workspace = opened.workspace
    return written != (report(workspace) if evaluated_runs(workspace) else None)


def density(opened: OpenWorkspace, run: str) -> DensityHistogram | None:
    """How often the latents of an evaluated run are active, or None."""
    return parsed(DensityHistogram, opened.workspace.run(run) / "evaluation" / DENSITY)
