"""`analyse relatives`: a run's latents and those of others of its place in, which lie inside which out, with texts that
tell them apart."""

from collections.abc import Sequence
from typing import Annotated, Any

from sparselex.atlas.relatives.config import RelativesConfig
from sparselex.atlas.relatives.records import FILE, KIND, Kinship
from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.errors import UserError
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.splitting import width_beside, widths_there


class FindRelatives(Stage, RelativesConfig):
    """Find the narrower and wider relatives of latents: which are active only where another is and on a part of its
    tokens, beside the same with activations shifted away from their tokens; and for each pair two texts as alike as
    possible, in one of which both are active and in the other only the wider one."""

    verb = "analyse relatives"
    needs = ("index",)
    makes = KIND
    work = "sparselex.recipes.work.relatives:relatives_run"
    gives = "sparselex.recipes.stages.relatives:relatives_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs of the same place and text among whose latents relatives are sought besides the run's own. Left out, of each
    other width that the workspace has the first run that is no control."""

    def facts(self, run: Any) -> dict[str, str]:
        """The indexes of these runs."""
        return others_of(run, self.others)

    def shown(self, run: Any) -> Kinship:
        return relatives_of(run)

    def line(self, run: Any, shown: Kinship) -> str:
        said = [f"{one.n_pairs:,} pairs with {one.run}{_told(one.figure('told_apart'))}" for one in shown.among]
        return f"{'; '.join(said)}. `sparselex serve {run.workspace.typed}` shows them at /runs/{run.name}/relatives."


def others_of(run: Any, names: Sequence[str] = ()) -> dict[str, str]:
    """Ids of the indexes of runs among whose latents relatives are sought besides the run's own: by these names, or of
    one of each other width. Raises `UserError` for a name of a run of another place, text or model, and of the run
    itself."""
    for name in names:
        if width_beside(run, name) is None:
            raise UserError(
                f"Relatives of run {run.name!r} were to be sought in run {name!r}, which is that run, or no indexed "
                "one of its place and text.",
                "other indexed runs of the same place of the same model, and of one text",
                "leave it out of --others.",
            )
    found = names or [name for name in widths_there(run) if name != run.name]
    return {name: run.workspace.artifacts(name)["index"].id for name in found}


def _told(figure: Any) -> str:
    if figure is None or figure.value is None:
        return ""
    chance = f", by chance {figure.null:.0%}" if figure.null is not None else ""
    return f" (a token in which two texts differ tells {figure.value:.0%} of other places rightly{chance})"


def relatives_of(run: Any) -> Kinship:
    """The relatives of a run's latents."""
    run.manifest(KIND)
    return record_of(Kinship, run.folder / KIND, FILE)
