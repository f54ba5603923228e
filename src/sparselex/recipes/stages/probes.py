"""`evaluate probes`: a dictionary and concepts that are known in, supervised figures out."""

from typing import Any

from sparselex.base.figures import Figure, Figures
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.records import KIND, Probed
from sparselex.recipes.stage import Stage


class Probes(Stage, ProbesConfig):
    """Measure how well latents tell concepts that are known (sparse probing, SCR, TPP, RAVEL), beside neurons,
    principal components, random directions and the run's controls."""

    verb = "evaluate probes"
    needs = ("dictionary",)
    makes = KIND
    work = "sparselex.recipes.work.probes:probes_run"
    gives = "sparselex.recipes.stages.probes:probed_of"

    def facts(self, run: Any) -> dict[str, str]:
        """The dictionaries of the run's controls: they are measured beside it."""
        return {name: run.workspace.artifacts(name)["dictionary"].id for name in controls_of(run)}

    def shown(self, run: Any) -> Probed:
        return probed_of(run)

    def line(self, run: Any, shown: Probed) -> str:
        figures = Figures.read(run.folder / KIND)
        said = [f"{figure.name.removeprefix('probes/')} {_value(figure)}" for figure in figures.figures]
        return f"{', '.join(said)}; all of it in {run.folder / KIND}"


def controls_of(run: Any) -> list[str]:
    """Runs of the workspace that are controls of this one and have a dictionary."""
    cards = {name: run.workspace.card(name) for name in run.workspace.runs()}
    return sorted(
        name for name, card in cards.items() if card.twin_of == run.name and run.workspace.has(name, "dictionary")
    )


def probed_of(run: Any) -> Probed:
    """What came out for a run."""
    run.manifest(KIND)
    return Probed.read(run.folder / KIND)


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "not measured"
    null = "" if figure.null is None else f" (null {figure.null:.3g})"
    return f"{figure.value:.3g}{null}"
