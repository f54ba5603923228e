"""Lay out a run's latents."""

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.build import build_map
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.run import Run
from sparselex.recipes.stages.map import Map


def map_run(run: Run, stage: Map) -> None:
    """Lay out the latents that are ever active. Raises `UserError` where umap-learn is missing."""
    index = run.index
    inputs = {"dictionary": run.manifest("dictionary").id, "index": index.id}
    if run.has("explanations"):
        inputs["explanations"] = run.manifest("explanations").id
    said = {
        latent: found[0].title
        for latent, found in ExplanationStore(run.workspace.database).entries(index.id).items()
        if found and found[0].status == "explained"
    }
    to, directions = run.folder / Map.makes, run.dictionary.directions()
    build_map(directions, index.table["n_active"], said, stage.part(MapConfig), to, inputs=inputs)
    run.keep_options(stage)
