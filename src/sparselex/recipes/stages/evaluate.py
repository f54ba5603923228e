"""`evaluate`: dictionary and model in, figures out."""

from typing import Any

from sparselex.base.figures import Figure, Figures
from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.records import Report
from sparselex.evaluate.report import report
from sparselex.recipes.stage import Stage


class Evaluate(Stage, EvaluateConfig):
    """Measure the dictionary on held-out documents, beside control dictionaries at its L0, and update the report."""

    verb = "evaluate"
    needs = ("dictionary", "index")
    reads = ("explanations",)
    makes = "evaluation"
    expected = True
    work = "sparselex.recipes.work.evaluate:evaluate_run"
    gives = "sparselex.recipes.work.evaluate:evaluation_of"

    def facts(self, run: Any) -> bool:
        """Whether the workspace has its report, which is written with the figures: it may have been taken away."""
        return run.workspace.report.exists()

    def shown(self, run: Any) -> Report:
        return report(run.workspace, run.name)

    def line(self, run: Any, shown: Report) -> str:
        figures = {figure.name: figure for figure in Figures.read(run.folder / self.makes).figures}
        said = (f"{name} {_value(figures.get(f'core/{field}'))}" for name, field in _SAID.items())
        return f"on test documents {', '.join(said)}, in {run.folder / self.makes}"


_SAID = {"L0": "l0", "FVU": "fvu", "loss recovered": "loss_recovered_mean"}
"""What is said of an evaluation in one line."""


def _value(figure: Figure | None) -> str:
    return "not measured" if figure is None or figure.value is None else f"{figure.value:.4g}"
