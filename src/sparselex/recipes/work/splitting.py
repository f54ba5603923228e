"""Follow the latents of a run through dictionaries of other widths."""

from sparselex.atlas.splitting.config import SplittingConfig
from sparselex.atlas.splitting.dictionaries import Dictionary
from sparselex.atlas.splitting.walk import splitting
from sparselex.evaluate.report import write_report
from sparselex.evaluate.twins import differing
from sparselex.recipes.run import Run
from sparselex.recipes.stages.splitting import FindSplits, levels_of


def splitting_run(run: Run, stage: FindSplits) -> None:
    """The graph of the run's latents and those of others; a report that is there already takes the figures up."""
    levels = levels_of(run, stage.others)
    opened = [
        Dictionary(name, Run.open(run.workspace, name).index, differing(run.workspace, run.name, name))
        for name in levels
    ]
    inputs = {"index": run.index.id} | {f"{one.run}/index": one.features.id for one in opened}
    splitting(opened, stage.part(SplittingConfig), run.folder / FindSplits.makes, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
