"""`map`: a dictionary in, its latents on a plane out, alone or with those of dictionaries of other widths."""

from collections.abc import Sequence
from typing import Annotated, Any

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.records import KIND, SUMMARY, LatentMap, MapSummary
from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.errors import UserError
from sparselex.base.formats import counted
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.splitting import levels_of


class Map(Stage, MapConfig):
    """Lay the latents of the dictionary on a plane, near where their decoder rows are alike, and name the clusters by
    what is said of them."""

    verb = "map"
    needs = ("dictionary", "index")
    reads = ("explanations",)
    makes = KIND
    work = "sparselex.recipes.work.map:map_run"
    gives = "sparselex.recipes.stages.map:map_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs of the same model, place and text in other widths whose latents are laid out with the run's own, as in the
    2023 paper; `none` lays the run out alone."""

    def facts(self, run: Any) -> dict[str, dict[str, str]] | None:
        """The dictionaries that are laid out with this one."""
        if not self.others:
            return None
        made = {name: run.workspace.artifacts(name) for name in laid_with(run, self.others) if name != run.name}
        return {name: {one: found[one].id for one in _LAID if one in found} for name, found in made.items()}

    def shown(self, run: Any) -> MapSummary:
        run.manifest(KIND)
        return record_of(MapSummary, run.folder / KIND, SUMMARY)

    def line(self, run: Any, shown: MapSummary) -> str:
        n, beside = len(shown.clusters), ""
        if shown.together:
            names = ", ".join(shown.together)
            beside = f", with those of {names} (`sparselex serve` shows them at /runs/{run.name}/map/together)"
        where = f"in {run.folder / KIND}{beside}"
        return f"{counted(shown.n_placed, 'latent')} on the map in {counted(n, 'cluster')}, {where}"


_LAID = ("dictionary", "index", "explanations")
"""What is read of each run on a map."""


def laid_with(run: Any, others: Sequence[str]) -> list[str]:
    """The run and others, the narrowest first. Raises `UserError` for the run itself, for one of another place, text or
    model, for two of one width, and for one without a dictionary."""
    found = levels_of(run, others)
    for name in found:
        if not run.workspace.has(name, "dictionary"):
            raise UserError(
                f"Run {name!r} was to be laid out with run {run.name!r}, and has no dictionary.",
                "runs with a dictionary and an index",
                "leave it out of --others.",
            )
    return found


def map_of(run: Any) -> LatentMap:
    """The run's map."""
    run.manifest(KIND)
    return LatentMap(run.folder / KIND)
