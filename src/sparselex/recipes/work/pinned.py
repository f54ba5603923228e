"""Measure pinned sampling of a run."""

from sparselex.evaluate.pinned.config import PinnedConfig
from sparselex.evaluate.pinned.walk import measure_pinned
from sparselex.evaluate.report import write_report
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.pinned_records import PREFIX
from sparselex.recipes.run import Run
from sparselex.recipes.stages.pinned import SamplePinned


def pinned_run(run: Run, stage: SamplePinned) -> None:
    """Latents of the run that are held; a report that is there already takes the figures up."""
    pinning, index = run.prompts.pinning, run.index
    inputs = {"dictionary": run.manifest("dictionary").id, "index": index.id, "model": run.model.id}
    if run.has("explanations"):
        inputs |= {"explanations": run.manifest("explanations").id}
    to = run.folder / SamplePinned.makes
    measure_pinned(pinning, index, best_ruled(run, index.id), PREFIX, stage.part(PinnedConfig), to, inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def best_ruled(run: Run, index_id: str) -> list[int]:
    """Latents by the foremost score of their first explanation, the best first; none where nothing is scored."""
    if not run.workspace.database.exists():
        return []
    store = ExplanationStore(run.workspace.database)
    by = store.foremost(index_id)
    rows = store.scored_by(index_id, by[0]) if by else []
    return [row.latent for row in sorted(rows, key=lambda row: (-row.value, row.latent))]
