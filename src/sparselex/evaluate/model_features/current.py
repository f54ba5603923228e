"""What of a card is still of what its workspace holds. No tensors here."""

from collections.abc import Mapping

from sparselex.base.workspace import Workspace
from sparselex.evaluate.model_features.records import ModelFeatures


def without_stale(found: ModelFeatures, inputs: Mapping[str, str], workspace: Workspace) -> ModelFeatures:
    """The card without comparisons with dictionaries that their runs have no more; `inputs` are those of its
    artifact."""
    kept = [one for one in found.compared if _dictionary(workspace, one.run) == inputs.get(f"{one.run}/dictionary")]
    return found if len(kept) == len(found.compared) else found.model_copy(update={"compared": kept})


def _dictionary(workspace: Workspace, run: str) -> str:
    made = workspace.artifacts(run).get("dictionary") if workspace.has_run(run) else None
    return made.id if made else ""
