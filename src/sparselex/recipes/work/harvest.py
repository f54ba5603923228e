"""Harvest a run: activations of its training documents as shards on disk; later stages then train from these."""

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.store import ActivationStore
from sparselex.recipes.run import Run
from sparselex.recipes.stages.harvest import Harvest


def harvest_run(run: Run, stage: Harvest) -> None:
    """Write the shards of the run's sites. Raises `UserError` like `activations.harvest`."""
    sites, corpus = run.sites, run.corpus  # in this order: a place that is not there is refused before text is read
    run.keep(stage)
    harvest(run.model, corpus, sites, stage.part(HarvestConfig), run.folder / Harvest.makes)


def store_of(run: Run) -> ActivationStore:
    """The run's activations."""
    return ActivationStore(run.folder / Harvest.makes)
