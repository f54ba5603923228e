"""`explain`: feature records in, explanations with scores out."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.explain.config import ExplainConfig
from sparselex.explain.registry import made_by
from sparselex.explain.store import ExplanationStore
from sparselex.explain.summary import ExplainSummary
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage


class Explain(Stage, ExplainConfig):
    """Explain every feature, or abstain, and score each explanation on held-out documents."""

    verb = "explain"
    needs = ("dictionary", "index")
    makes = "explanations"
    expected = True
    work = "sparselex.recipes.work.explain:explain_run"
    gives = "sparselex.recipes.stages.explain:summary_of"

    options: Annotated[dict[str, Any], Option("--option", pairs=True)] = Field(default_factory=dict)
    """What the explainer itself can be told, by its own names; may be repeated."""

    def facts(self, run: Any) -> list[Any]:
        """How many latents the database holds an explanation of, for it may have been moved away, and by which version
        of the explainer they are to be."""
        entries = ExplanationStore(run.workspace.database).entries(run.manifest("index").id)
        return [len(entries), made_by(self.explainer)]

    def shown(self, run: Any) -> ExplainSummary:
        return summary_of(run)

    def line(self, run: Any, shown: ExplainSummary) -> str:
        return str(shown)


def summary_of(run: Any) -> ExplainSummary:
    """What came of a run's explanations."""
    run.manifest(Explain.makes)
    return ExplainSummary.of(run.folder / Explain.makes)
