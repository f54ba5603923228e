"""Index a run's dictionary."""

from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.index import FeatureIndex
from sparselex.recipes.run import Run
from sparselex.recipes.stages.index import Index


def index_run(run: Run, stage: Index) -> None:
    """Read all text once and write the index. Raises `UserError` like `features.build_index`."""
    dictionary, config = run.dictionary, stage.part(IndexConfig)
    inputs = {"model": run.model.id, "dictionary": run.manifest("dictionary").id, "corpus": run.corpus.id}
    build_index(run.model, dictionary, run.corpus, run.sites, config, run.folder / Index.makes, inputs=inputs)
    run.keep_options(stage)


def index_of(run: Run) -> FeatureIndex:
    """The run's feature index."""
    return run.index
