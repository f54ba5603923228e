"""`evaluate model-features`: a dictionary and its model in, what the model reads of it out."""

from typing import Any

from sparselex.base.artifacts import record_of
from sparselex.base.figures import Figure
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures
from sparselex.recipes.stage import Stage


class FeaturesOfModel(Stage, ModelFeaturesConfig):
    """Measure how much of each latent the model reads, to first order, beside directions drawn as the activations vary,
    neurons, principal components and random directions."""

    verb = "evaluate model-features"
    needs = ("dictionary",)
    makes = KIND
    work = "sparselex.recipes.work.model_features:model_features_run"
    gives = "sparselex.recipes.stages.model_features:model_features_of"

    def shown(self, run: Any) -> ModelFeatures:
        return model_features_of(run)

    def line(self, run: Any, shown: ModelFeatures) -> str:
        said = {figure.name.rpartition("/")[2]: figure for figure in shown.figures}
        told = [f"{words} {_value(said.get(name))}" for name, words in _SAID.items()]
        return f"{', '.join(told)}; all of it in {run.folder / KIND}"


_SAID = {
    "relevance": "median relevance of latents",
    "unread": "share that the model hardly reads",
    "unread_variance": "of the variance that latents write",
}
"""What is said in one line."""


def model_features_of(run: Any) -> ModelFeatures:
    """What was measured of a run's dictionary."""
    run.manifest(KIND)
    return record_of(ModelFeatures, run.folder / KIND, FILE)


def _value(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "not measured"
    ends = "" if figure.ci_low is None else f"{figure.ci_low:.2f} to {figure.ci_high:.2f}; "
    return f"{figure.value:.2f} ({ends}null {figure.null:.2f})"
