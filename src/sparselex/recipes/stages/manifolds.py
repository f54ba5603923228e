"""`manifolds`: an index and its dictionary in, features of several dimensions out."""

from typing import Any

from sparselex.base.artifacts import record_of
from sparselex.base.formats import counted
from sparselex.evaluate.manifolds.config import ManifoldsConfig
from sparselex.evaluate.manifolds.records import KIND, MANIFOLDS, Manifolds
from sparselex.recipes.stage import Stage


class FindManifolds(Stage, ManifoldsConfig):
    """Look for features of several dimensions: groups of latents with near decoder rows whose activations lie on a
    curve or a surface together, beside random groups of the same sizes and normal clouds."""

    verb = "manifolds"
    needs = ("dictionary", "index")
    makes = KIND
    work = "sparselex.recipes.work.manifolds:manifolds_run"
    gives = "sparselex.recipes.stages.manifolds:manifolds_of"

    def shown(self, run: Any) -> Manifolds:
        return manifolds_of(run)

    def line(self, run: Any, shown: Manifolds) -> str:
        said = {figure.name.rpartition("/")[2]: figure for figure in shown.figures}
        above = said["above_random_share"]
        by_chance = f" (chance gives {above.null:.0%})" if above.null is not None else ""
        share = "not measured" if above.value is None else f"{above.value:.0%}{by_chance}"
        told = f"{counted(len(shown.groups), 'group')} of latents, above all random ones of their size: {share}"
        return f"{told}, in {run.folder / KIND}"


def manifolds_of(run: Any) -> Manifolds:
    """What was found in the run's dictionary."""
    run.manifest(KIND)
    return record_of(Manifolds, run.folder / KIND, MANIFOLDS)
