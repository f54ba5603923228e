"""Harvest a run: activations of its training documents as shards on disk; later stages then train from these."""

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.store import ActivationStore
from sparselex.recipes.run import Run
from sparselex.recipes.stages.harvest import Harvest


def harvest_run(run: Run, stage: Harvest) -> None:
    """Write the shards of the run's sites. Raises `UserError` like `activations.harvest`."""
    corpus = run.corpus
    run.keep(stage)
    config = HarvestConfig(**{name: getattr(stage, name) for name in HarvestConfig.model_fields})
    harvest(run.model, corpus, run.sites, config, run.folder / Harvest.makes)


def store_of(run: Run) -> ActivationStore:
    """The run's activations."""
    return ActivationStore(run.folder / Harvest.makes)
