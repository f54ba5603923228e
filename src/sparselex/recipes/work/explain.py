"""Explain a run's features."""

from sparselex.evaluate.report import write_report
from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import explain
from sparselex.recipes.run import Run
from sparselex.recipes.stages.explain import Explain


def explain_run(run: Run, stage: Explain) -> None:
    """Explanations and scores of all features; a report that is there already takes them up."""
    index, config = run.index, stage.part(ExplainConfig)
    index.check_whole("explaining")
    explain(index, config, run.workspace.database, run.folder / Explain.makes, inputs={"index": index.id})
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
