"""Take the census of a run's dictionary."""

from sparselex.atlas.census.config import CensusConfig
from sparselex.atlas.census.walk import census
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.census import TakeCensus


def census_run(run: Run, stage: TakeCensus) -> None:
    """Latents by when they are active; a report that is there already takes the figures up."""
    inputs = {"dictionary": run.manifest("dictionary").id, "index": run.index.id}
    census(run.index, run.dictionary, stage.part(CensusConfig), run.folder / TakeCensus.makes, inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
