"""`analyse splitting`: dictionaries of one place in several widths in, what latents become in the next wider one
out."""

from collections.abc import Sequence
from typing import Annotated, Any

from sparselex.atlas.splitting.config import SplittingConfig
from sparselex.atlas.splitting.records import FILE, KIND, SplitGraph
from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.errors import UserError
from sparselex.recipes.stage import Stage


class FindSplits(Stage, SplittingConfig):
    """Follow latents through dictionaries of one place in several widths: which wide latents a narrow one becomes, by
    how alike they are where either is active, beside the same with activations shifted away from their tokens."""

    verb = "analyse splitting"
    needs = ("index",)
    makes = KIND
    work = "sparselex.recipes.work.splitting:splitting_run"
    gives = "sparselex.recipes.stages.splitting:splitting_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs of the same place and text in other widths. Left out, of each width that the workspace has the first run
    that is no control."""

    def facts(self, run: Any) -> dict[str, str]:
        """The indexes of all levels."""
        return {name: run.workspace.artifacts(name)["index"].id for name in levels_of(run, self.others)}

    def shown(self, run: Any) -> SplitGraph:
        return splitting_of(run)

    def line(self, run: Any, shown: SplitGraph) -> str:
        said = []
        for step in shown.steps:
            split = step.figure("close_split")
            if split is None or split.value is None:
                said.append(f"{step.narrow} to {step.wide}: not measured")
                continue
            siblings = split.controls.get("siblings", 0.0)
            said.append(
                f"{split.value:.0%} of the latents of {step.narrow} are several in {step.wide} (of its own dictionary "
                f"{siblings:.0%} are as near to two others, by chance {split.null or 0:.0%})"
            )
        return f"{'; '.join(said)}. `sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/splitting."


def levels_of(run: Any, names: Sequence[str] = ()) -> list[str]:
    """The run and others of its place, ordered by width: by these names, or one of each width. Raises `UserError` for a
    name of a run of another place, text or model, for two of one width, and where there is no other width."""
    workspace = run.workspace
    mine = run.manifest("index")
    widths = {run.name: int(mine.notes["d_sae"])}
    for name in names or sorted(workspace.runs()):
        if name == run.name and not names:
            continue
        card = workspace.card(name)  # refuses a name that is none
        index = workspace.artifacts(name).get("index") if workspace.has(name, "index") else None
        own = workspace.card(run.name)
        fits = (
            name != run.name
            and index is not None
            and (card.sites, card.corpus) == (own.sites, own.corpus)
            and index.inputs.get("model") == mine.inputs.get("model")
        )
        width = int(index.notes["d_sae"]) if fits and index is not None else 0
        if names and (not fits or width in widths.values()):
            why = f"has {width:,} latents as another has" if fits else "is no indexed one of its place and text"
            raise UserError(
                f"Run {name!r} was to be a level beside run {run.name!r}, and {why}.",
                "indexed runs of one place of one model and one text, each of another width",
                "name others by --others.",
            )
        if fits and (names or card.twin_of is None) and width not in widths.values():
            widths[name] = width
    if len(widths) < 2:
        width = widths[run.name]
        raise UserError(
            f"Run {run.name!r} is the only one of its place and text, with {width:,} latents.",
            "two indexed runs or more of one place and text, of several widths",
            f"begin others, such as `sparselex harvest {workspace.typed} --run narrow`, train them in other widths "
            "(--expansion 1) and index them.",
        )
    return sorted(widths, key=lambda name: widths[name])


def splitting_of(run: Any) -> SplitGraph:
    """What a run's latents become, and of what they came."""
    run.manifest(KIND)
    return record_of(SplitGraph, run.folder / KIND, FILE)
