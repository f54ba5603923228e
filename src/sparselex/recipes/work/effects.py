"""Measure the effects of a run's latents."""

from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.effects import effects
from sparselex.evaluate.effects.records import EffectsIndex
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.effects import Effects


def effects_run(run: Run, stage: Effects) -> None:
    """What the model does without each latent; a report that is there already takes the figures up."""
    index, dictionary, config = run.index, run.dictionary, stage.part(EffectsConfig)
    index.check_whole("measuring effects")
    inputs = {"index": index.id, "dictionary": run.manifest("dictionary").id, "model": run.model.id}
    to = run.folder / Effects.makes
    effects(run.model, dictionary, index, run.sites, config, to, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def effects_of(run: Run) -> EffectsIndex:
    """What was measured of a run's latents."""
    run.manifest(Effects.makes)
    return EffectsIndex(run.folder / Effects.makes)
