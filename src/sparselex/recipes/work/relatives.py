"""Find the relatives of a run's latents among its own and those of other runs."""

from sparselex.atlas.relatives.config import RelativesConfig
from sparselex.atlas.relatives.walk import relatives
from sparselex.atlas.splitting.dictionaries import Dictionary
from sparselex.evaluate.report import write_report
from sparselex.evaluate.twins import differing
from sparselex.recipes.run import Run
from sparselex.recipes.stages.relatives import FindRelatives, others_of


def relatives_run(run: Run, stage: FindRelatives) -> None:
    """The relatives of the run's latents; a report that is there already takes the figures up."""
    others = others_of(run, stage.others)
    opened = [Dictionary(run.name, run.index)]
    opened += [
        Dictionary(name, Run.open(run.workspace, name).index, differing(run.workspace, run.name, name))
        for name in others
    ]
    inputs = {"index": run.index.id} | {f"{name}/index": index for name, index in others.items()}
    relatives(opened, stage.part(RelativesConfig), run.folder / FindRelatives.makes, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
