"""Lay out a run's latents, alone or with those of others."""

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.build import build_map
from sparselex.atlas.maps.build_together import Laid, build_together
from sparselex.evaluate.report import write_report
from sparselex.evaluate.twins import differing
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.run import Run
from sparselex.recipes.stages.map import Map, laid_with


def map_run(run: Run, stage: Map) -> None:
    """Lay out the latents that are ever active. Raises `UserError` where umap-learn is missing."""
    index, to, config = run.index, run.folder / Map.makes, stage.part(MapConfig)
    inputs = {"dictionary": run.manifest("dictionary").id, "index": index.id}
    if run.has("explanations"):
        inputs["explanations"] = run.manifest("explanations").id
    if stage.others:
        _together(run, stage, inputs)
    else:
        build_map(run.dictionary.directions(), index.table["n_active"], _said(run), config, to, inputs=inputs)
    run.keep_options(stage)
    if stage.others and run.workspace.report.exists():
        write_report(run.workspace)


def _together(run: Run, stage: Map, inputs: dict[str, str]) -> None:
    opened = [run if name == run.name else Run.open(run.workspace, name) for name in laid_with(run, stage.others)]
    for one in opened:
        if one.name == run.name:
            continue
        inputs |= {f"{one.name}/{name}": one.manifest(name).id for name in ("dictionary", "index")}
        if one.has("explanations"):  # they decide words alone, and figures are none of these
            inputs[f"explanations of {one.name}"] = one.manifest("explanations").id
    laid = [
        Laid(
            one.name,
            one.index.id,
            one.dictionary.directions().detach().cpu().float().numpy(),
            one.index.table["n_active"],
            _said(one),
            "" if one.name == run.name else differing(run.workspace, run.name, one.name),
        )
        for one in opened
    ]
    build_together(laid, run.name, stage.part(MapConfig), run.folder / Map.makes, inputs=inputs)


def _said(run: Run) -> dict[int, str]:
    entries = ExplanationStore(run.workspace.database).entries(run.index.id)
    return {latent: found[0].title for latent, found in entries.items() if found and found[0].status == "explained"}
