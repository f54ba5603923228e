"""`analyse census`: an index and its dictionary in, latents by when they are active out."""

from typing import Any

from sparselex.atlas.census.config import CensusConfig
from sparselex.atlas.census.records import FILE, KIND, Census
from sparselex.base.artifacts import record_of
from sparselex.base.formats import count
from sparselex.recipes.stage import Stage


class TakeCensus(Stage, CensusConfig):
    """Count a dictionary's latents by when they are active: which are dead, whether there is a second cluster of very
    low density (by density, encoder bias, and decoder times encoder row), and which are the rest."""

    verb = "analyse census"
    needs = ("dictionary", "index")
    makes = KIND
    work = "sparselex.recipes.work.census:census_run"
    gives = "sparselex.recipes.stages.census:census_of"

    def shown(self, run: Any) -> Census:
        return census_of(run)

    def line(self, run: Any, shown: Census) -> str:
        groups = ", ".join(f"{count(n)} {name}" for name, n in shown.groups.items())
        return f"{groups}. {shown.found} `sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/{KIND}."


def census_of(run: Any) -> Census:
    """The census of a run's dictionary."""
    run.manifest(KIND)
    return record_of(Census, run.folder / KIND, FILE)
