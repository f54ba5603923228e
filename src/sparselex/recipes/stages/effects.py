"""`effects`: index and model in, what the model does without each latent out."""

from typing import Any

from sparselex.base.figures import Figure, Figures
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.recipes.stage import Stage


class Effects(Stage, EffectsConfig):
    """Ablate every latent where it is active, on held-out documents, and measure what the model then predicts, beside
    random directions of the same size and the same direction where the latent is silent."""

    verb = "effects"
    needs = ("dictionary", "index")
    makes = "effects"
    work = "sparselex.recipes.work.effects:effects_run"
    gives = "sparselex.recipes.work.effects:effects_of"

    def shown(self, run: Any) -> Figures:
        return Figures.read(run.folder / self.makes)

    def line(self, run: Any, shown: Figures) -> str:
        said = {figure.name: figure for figure in shown.figures}
        told = [f"{words} {_share(said.get(f'causal/{name}'))}" for name, words in _SAID.items()]
        return f"of the latents {', '.join(told)}, in {run.folder / self.makes}"


_SAID = {
    "used_share": "whose ablation exceeds random directions:",
    "specific_share": "whose ablation exceeds their own direction where they are silent, pair by pair:",
}
"""What is said in one line."""


def _share(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "not measured"
    return f"{100 * figure.value:.1f}% (chance gives {100 * (figure.null or 0.0):.1f}%)"
