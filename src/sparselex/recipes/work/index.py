"""Index a run's dictionary."""

from sparselex.dictionaries.ranks import Ranks
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.index import FeatureIndex
from sparselex.recipes.run import Run
from sparselex.recipes.stages.index import Index


def index_run(run: Run, stage: Index) -> None:
    """Read all text once and write the index; under torchrun by all processes together. Raises `UserError` like
    `features.build_index`."""
    with Ranks.connected() as ranks:
        # A text is cut into rows by one and read by all.
        ranks.begin(lambda: (run.dictionary, run.model, run.corpus if ranks.is_main else None))
        dictionary, config = run.dictionary, stage.part(IndexConfig)
        inputs = {"model": run.model.id, "dictionary": run.manifest("dictionary").id, "corpus": run.corpus.id}
        to = run.folder / Index.makes
        build_index(run.model, dictionary, run.corpus, run.sites, config, to, inputs=inputs, ranks=ranks)
        if ranks.is_main:
            run.keep_options(stage)
        ranks.wait()


def index_of(run: Run) -> FeatureIndex:
    """The run's feature index."""
    return run.index
