"""`explain`: feature records in, explanations with scores out."""

from typing import Any

from sparselex.explain.config import ExplainConfig
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.stage import Stage


class Explain(Stage, ExplainConfig):
    """Explain every feature, or abstain, and score each explanation on held-out documents."""

    verb = "explain"
    needs = ("index",)
    makes = "explanations"
    expected = True
    work = "sparselex.recipes.work.explain:explain_run"
    gives = "sparselex.recipes.work.explain:summary_of"

    def facts(self, run: Any) -> int:
        """How many explanations the database holds of the run's index: it may have been moved away."""
        return len(ExplanationStore(run.workspace.database).rows(run.manifest("index").id))
