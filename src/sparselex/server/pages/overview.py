"""`/`: what was trained on what, and the figures beside their controls."""

from itertools import groupby

from sparselex.base.figures import Figure
from sparselex.server.contexts import CorpusSummary, FigureGroup, OverviewPage, RunSummary
from sparselex.server.reading import Reading

STAGES = ("dictionary", "index", "evaluation")
"""Artifacts of a run without which a page stays empty."""


def overview(reading: Reading) -> OverviewPage:
    """The workspace at a glance."""
    workspace, report = reading.workspace, reading.report()
    figures = report.figures if report else []
    return OverviewPage(
        title=f"{workspace.path.name}: overview",
        workspace=workspace.path.name,
        corpus=_corpus(reading, workspace.runs()),
        runs=[_run(reading, run) for run in workspace.runs()],
        groups=_groups(figures),
        control_names=list(dict.fromkeys(name for figure in figures for name in figure.controls)),
        verdicts=report.verdicts if report else [],
        notice=_notice(reading),
        densities={run: density for run in workspace.runs() if (density := reading.density(run))},
        sweeps={run: found for run in reading.run_folders() if (found := reading.sweep(run))},
    )


def control_of(reading: Reading, run: str) -> str:
    """Which random-weight control of the model a run read; `none` for the model itself."""
    return reading.workspace.card(run).twin


def _groups(figures: list[Figure]) -> list[FigureGroup]:
    """Figures in their order, gathered by all of their name but the last part."""
    parts = groupby(figures, key=lambda figure: figure.name.rpartition("/")[0])
    return [FigureGroup(name=name, figures=list(found)) for name, found in parts]


def _notice(reading: Reading) -> str:
    name = reading.workspace.path.name
    if reading.report() is None:
        return f"No figures yet: “sparselex evaluate {name}” measures them and writes the report."
    if reading.report_is_old():
        return f"This report is older than the evaluations: “sparselex report {name}” writes it again."
    return ""


def _corpus(reading: Reading, runs: list[str]) -> CorpusSummary | None:
    manifest = reading.corpus_manifest(runs[0]) if runs else None
    if manifest is None:
        return None
    return CorpusSummary(
        source=manifest.config["source"],
        n_tokens=manifest.notes["n_tokens"],
        n_documents=manifest.notes["n_documents"],
        n_ctx=manifest.config["n_ctx"],
    )


def _run(reading: Reading, run: str) -> RunSummary:
    settings, trained = reading.settings(run), reading.manifest(run, "dictionary")
    dictionary = trained.config["dictionary"] if trained else None
    missing = [kind for kind in STAGES if reading.manifest(run, kind) is None]
    return RunSummary(
        name=run,
        model=settings.get("model", {}).get("name") or "not recorded",
        control=control_of(reading, run),
        hook=trained.inputs["hook"] if trained else settings.get("hook") or "not chosen yet",
        dictionary=f"{dictionary['kind']}, {dictionary['d_in']:,} → {dictionary['d_sae']:,}" if dictionary else None,
        n_tokens=trained.notes.get("n_tokens") if trained else None,
        imported_from=trained.config.get("source") if trained else None,
        missing=missing,
        indexed="index" not in missing,
    )
