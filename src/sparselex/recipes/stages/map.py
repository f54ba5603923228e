"""`map`: a dictionary in, its latents on a plane out."""

from typing import Any

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.records import KIND, SUMMARY, LatentMap, MapSummary
from sparselex.base.artifacts import record_of
from sparselex.base.formats import counted
from sparselex.recipes.stage import Stage


class Map(Stage, MapConfig):
    """Lay the latents of the dictionary on a plane, near where their decoder rows are alike, and name the clusters by
    what is said of them."""

    verb = "map"
    needs = ("dictionary", "index")
    reads = ("explanations",)
    makes = KIND
    work = "sparselex.recipes.work.map:map_run"
    gives = "sparselex.recipes.stages.map:map_of"

    def shown(self, run: Any) -> MapSummary:
        run.manifest(KIND)
        return record_of(MapSummary, run.folder / KIND, SUMMARY)

    def line(self, run: Any, shown: MapSummary) -> str:
        n = len(shown.clusters)
        return f"{counted(shown.n_placed, 'latent')} on the map in {counted(n, 'cluster')}, in {run.folder / KIND}"


def map_of(run: Any) -> LatentMap:
    """The run's map."""
    run.manifest(KIND)
    return LatentMap(run.folder / KIND)
