"""`evaluate model-features`: a dictionary and its model in, the card that says how far it is one of the model out."""

from collections.abc import Sequence
from typing import Any

from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.evaluate.model_features.cards import twin_cards
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures
from sparselex.evaluate.model_features.words import summary
from sparselex.evaluate.twins import control_kind
from sparselex.recipes.stage import Stage


class FeaturesOfModel(Stage, ModelFeaturesConfig):
    """Measure how far a dictionary is one of the model: what the model reads of its latents, how far predictions move
    along them, what its error and steering by it do, whether latents are there again in other dictionaries; each beside
    directions drawn as the activations vary, neurons, principal components or random directions."""

    verb = "evaluate model-features"
    needs = ("dictionary",)
    makes = KIND
    work = "sparselex.recipes.work.model_features:model_features_run"
    gives = "sparselex.recipes.stages.model_features:model_features_of"

    at: str | None = None
    """The site that is asked about, of those that the dictionary writes to; left out, the last of them."""

    into: str | None = None
    """A run whose dictionary reads one later site of the same model: how few latents each of its latents depends on.
    Left out, that is not measured."""

    def facts(self, run: Any) -> dict[str, str]:
        """The dictionaries that this one is compared with."""
        others = others_of(run, self.others) if "stability" in self.parts else {}
        return others | ({} if self.into is None else {"into": run.workspace.artifacts(self.into)["dictionary"].id})

    def shown(self, run: Any) -> ModelFeatures:
        return model_features_of(run)

    def line(self, run: Any, shown: ModelFeatures) -> str:
        short = summary(shown, twin_cards(run.workspace, run.name))
        return f"{short} `sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/model-features."


_READ = ("model", "second_model", "twin", "sites")
"""What two runs have in common whose latents are compared."""


def others_of(run: Any, names: Sequence[str] = ()) -> dict[str, str]:
    """Ids of the dictionaries of runs that read and write what a run does, by these names or all that there are. Raises
    `UserError` for a name of a run that reads something else."""
    workspace = run.workspace
    mine = workspace.card(run.name)
    if run.name in names:
        said = f"Run {run.name!r} was to be compared with itself."
        raise UserError(said, "other runs of the same site", "leave it out of --others.")
    found = dict[str, str]()
    for name in names or sorted(workspace.runs()):
        if name == run.name or (not names and (not workspace.has(name, "dictionary") or control_kind(workspace, name))):
            continue
        card = workspace.card(name)  # refuses a name that is none
        alike = all(getattr(card, field) == getattr(mine, field) for field in _READ)
        if names and not (alike and workspace.has(name, "dictionary")):
            what = f"reads {card.sites} of {card.model}" if workspace.has(name, "dictionary") else "has no dictionary"
            raise UserError(
                f"Run {name!r} {what}, and was to be compared with run {run.name!r}.",
                f"a dictionary of {mine.sites} of {mine.model}",
                "name another run by --others, or leave it out.",
            )
        if alike:
            found[name] = workspace.artifacts(name)["dictionary"].id
    return found


def model_features_of(run: Any) -> ModelFeatures:
    """What was measured of a run's dictionary."""
    run.manifest(KIND)
    return record_of(ModelFeatures, run.folder / KIND, FILE)
