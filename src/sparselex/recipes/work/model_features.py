"""Measure what the model reads of a run's dictionary."""

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.walk import model_features
from sparselex.evaluate.report import write_report
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run
from sparselex.recipes.stages.model_features import FeaturesOfModel


def model_features_run(run: Run, stage: FeaturesOfModel) -> None:
    """Relevance of the run's latents beside other directions; a report that is there already takes the figures up."""
    model = run.model
    if len(run.sites.hooks) != 1 or run.sites.target or not isinstance(model, SubjectModel):
        raise UserError(
            f"Run {run.name!r} reads {run.sites}.",
            "an autoencoder of one site of one model: what is read of its directions is asked there",
            "name another run.",
        )
    inputs = {"dictionary": run.manifest("dictionary").id, "model": model.id, "corpus": run.corpus.id}
    inputs |= run.sites.names()
    reader, to = Reader(model, run.corpus, run.sites), run.folder / FeaturesOfModel.makes
    config = stage.part(ModelFeaturesConfig)
    model_features(model, reader, run.sites.hooks[0], run.dictionary, config, to, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
