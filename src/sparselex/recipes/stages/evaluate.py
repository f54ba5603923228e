"""`evaluate`: dictionary and model in, figures out."""

from typing import Any

from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.report import Report, write_report
from sparselex.recipes.stage import Stage


class Evaluate(Stage, EvaluateConfig):
    """Measure the dictionary on held-out documents, beside control dictionaries at its L0, and update the report."""

    verb = "evaluate"
    needs = ("dictionary", "index")
    makes = "evaluation"
    expected = True
    work = "sparselex.recipes.work.evaluate:evaluate_run"
    gives = "sparselex.recipes.work.evaluate:evaluation_of"

    @classmethod
    def shown(cls, run: Any) -> Report:
        return write_report(run.workspace)
