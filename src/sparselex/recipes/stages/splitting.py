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


def width_beside(run: Any, name: str) -> int | None:
    """How many latents an indexed run of the same place, text and model has; None for any other, and for the run
    itself. Raises `UserError` for a name of no run."""
    workspace = run.workspace
    mine, card = workspace.card(run.name), workspace.card(name)  # refuses a name that is none
    index = workspace.artifacts(name).get("index") if workspace.has(name, "index") else None
    if name == run.name or index is None or (card.sites, card.corpus) != (mine.sites, mine.corpus):
        return None
    same_model = index.inputs.get("model") == run.manifest("index").inputs.get("model")
    return int(index.notes["d_sae"]) if same_model else None


def widths_there(run: Any) -> dict[str, int]:
    """The latents of the run and, of each other width, of the first run of its place that is no control."""
    widths = {run.name: int(run.manifest("index").notes["d_sae"])}
    for name in sorted(run.workspace.runs()):
        width = width_beside(run, name)
        if width is not None and width not in widths.values() and run.workspace.card(name).twin_of is None:
            widths[name] = width
    return widths


def levels_of(run: Any, names: Sequence[str] = ()) -> list[str]:
    """The run and others of its place, ordered by width: by these names, or one of each width. Raises `UserError` for a
    name of a run of another place, text or model, for two of one width, and where there is no other width."""
    workspace = run.workspace
    widths = {run.name: int(run.manifest("index").notes["d_sae"])} if names else widths_there(run)
    for name in names:
        width = width_beside(run, name)
        if width is None or width in widths.values():
            why = "is no indexed one of its place and text" if width is None else f"has {width:,} latents like another"
            raise UserError(
                f"Run {name!r} was to be a level beside run {run.name!r}, and {why}.",
                "indexed runs of one place of one model and one text, each of another width",
                "name others by --others.",
            )
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
