"""The report of a run: read where it is as its figures are, made anew where it is not."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sparselex.base.artifacts import read_manifest, verified
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES
from sparselex.base.files import checksum, fingerprint, write_json
from sparselex.base.registry import found
from sparselex.base.release import own_version
from sparselex.base.workspace import Workspace
from sparselex.evaluate.apart import artifacts_apart
from sparselex.evaluate.gathered import has_figures
from sparselex.evaluate.records import Report

_MADE = "sparselex.evaluate.reporting:made"
"""What makes a report; as an address, since it takes NumPy, and a finished run is told without."""


def report(workspace: Workspace, run: str | None = None) -> Report:
    """The figures of one run beside its controls, from the artifacts that hold figures.

    Without `run` it is `main`, or where that has no figures the first run that is no twin, if there is one. A report
    that was written is read, if it is as it was written and of the same artifacts. Raises `UserError` if there is no
    such run, or it has no figures.
    """
    evaluated = evaluated_runs(workspace)
    run = run or _default(workspace, evaluated)
    workspace.card(run)
    if run not in evaluated:
        raise _nothing(workspace, f"Run {run!r} of {workspace.path} has no figures.", f" --run {run}")
    inputs = _inputs(workspace, evaluated)
    if kept := _written(workspace, run, inputs):
        return kept
    whole: Report = found(_MADE)(workspace, run, evaluated, inputs)
    return whole.model_copy(update={"check": _check_of(whole)})


def write_report(workspace: Workspace) -> Report:
    """The report of the run that is meant where none is named, written to `report.json`; that of every run goes into
    its own folder. Raises like `report`."""
    for run in evaluated_runs(workspace):
        write_json(workspace.report_of(run), report(workspace, run).to_json())
    whole = report(workspace)
    write_json(workspace.report, whole.to_json())
    return whole


def evaluated_runs(workspace: Workspace) -> list[str]:
    """Names of the runs that have figures, `main` first."""
    return [name for name in workspace.runs() if has_figures(workspace, name)]


def _check_of(whole: Report) -> str:
    return fingerprint(whole.model_dump(mode="json", exclude={"check"}))


def _written(workspace: Workspace, run: str, inputs: dict[str, str]) -> Report | None:
    try:
        kept = Report.from_file(workspace.report_of(run))
    except UserError:  # not written yet, by an earlier version, or damaged
        return None
    return kept if (kept.run, kept.inputs, kept.check) == (run, inputs, _check_of(kept)) else None


def _inputs(workspace: Workspace, evaluated: Sequence[str]) -> dict[str, str]:
    """Raises `UserError` where figures are not as they were written: a report of them would hide it."""
    found = {"sparselex": f"{own_version()} {_code()}"}
    for run in evaluated:
        card = workspace.card(run)
        found[f"{run}/run.json"] = fingerprint([card.twin_of, card.twin])
        for name, manifest in workspace.artifacts(run).items():
            if FIGURES in manifest.files:
                verified(workspace.run(run) / name, FIGURES, manifest)
            found[f"{run}/{name}"] = manifest.id
        for name, folder in artifacts_apart(workspace, run).items():
            manifest = read_manifest(folder)
            verified(folder, FIGURES, manifest)
            found[f"{run}/{name}"] = manifest.id
    return found


@cache
def _code() -> str:
    """Fingerprint of what writes reports: what one of another checkout has said is said anew."""
    return fingerprint([checksum(path) for path in sorted(Path(__file__).parent.glob("*.py"))])


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
