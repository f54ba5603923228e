"""Look for features of several dimensions in a run's dictionary."""

from sparselex.evaluate.manifolds.config import ManifoldsConfig
from sparselex.evaluate.manifolds.find import find_manifolds
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.manifolds import FindManifolds


def manifolds_run(run: Run, stage: FindManifolds) -> None:
    """Groups of the run's latents beside their nulls; a report that is there already takes the figures up."""
    inputs = {"dictionary": run.manifest("dictionary").id, "index": run.index.id}
    to = run.folder / FindManifolds.makes
    rows = run.dictionary.directions().double().cpu().numpy()
    find_manifolds(run.index, rows, stage.part(ManifoldsConfig), to, inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
