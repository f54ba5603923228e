"""`analyse neurons`: an index and its dictionary in, latents held against neurons out."""

from typing import Any

from sparselex.atlas.neurons.config import NeuronsConfig
from sparselex.atlas.neurons.records import FILE, KIND, Neurons
from sparselex.base.artifacts import record_of
from sparselex.base.formats import number
from sparselex.recipes.stage import Stage


class AgainstNeurons(Stage, NeuronsConfig):
    """Hold a dictionary's latents against neurons: how many coefficients of their directions are large, how near the
    largest is to one neuron, and which neuron goes with their activations; beside random directions."""

    verb = "analyse neurons"
    needs = ("dictionary", "index")
    makes = KIND
    work = "sparselex.recipes.work.neurons:neurons_run"
    gives = "sparselex.recipes.stages.neurons:neurons_of"

    def shown(self, run: Any) -> Neurons:
        return neurons_of(run)

    def line(self, run: Any, shown: Neurons) -> str:
        said = {figure.name.rpartition("/")[2]: figure for figure in shown.figures}
        parts = []
        for name, words in (("largest", "largest coefficient"), ("correlation", "correlation of the best neuron")):
            figure = said.get(name)
            if figure is not None and figure.value is not None:
                null = "" if figure.null is None else f" (chance {number(figure.null, 2)})"
                parts.append(f"{words} {number(figure.value, 2)}{null}")
        where = f"`sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/{KIND}."
        return f"half of the latents are below: {', '.join(parts)}. {where}"


def neurons_of(run: Any) -> Neurons:
    """A run's dictionary held against neurons."""
    run.manifest(KIND)
    return record_of(Neurons, run.folder / KIND, FILE)
