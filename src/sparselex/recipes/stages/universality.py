"""`analyse universality`: a run and others of the same text in, which of its latents are there again in them out."""

from collections.abc import Sequence
from typing import Annotated, Any

from sparselex.atlas.universality.config import UniversalityConfig
from sparselex.atlas.universality.records import FILE, KIND, Universality
from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.errors import UserError
from sparselex.base.formats import number
from sparselex.recipes.stage import Stage


class FindUniversal(Stage, UniversalityConfig):
    """Measure how universal latents are: the nearest latent of each in a run of another model (or another seed) by the
    correlation of activations and of what it does to the next token, beside the neurons of the two models matched in
    the same way, and activations shifted away from their tokens."""

    verb = "analyse universality"
    needs = ("dictionary", "index")
    makes = KIND
    work = "sparselex.recipes.work.universality:universality_run"
    gives = "sparselex.recipes.stages.universality:universality_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs of the same text with which latents are compared. Left out, all that read the same place of another model,
    and those of the same model and width, but for controls."""

    def facts(self, run: Any) -> dict[str, str]:
        """The indexes of these runs."""
        return others_of(run, self.others)

    def shown(self, run: Any) -> Universality:
        return universality_of(run)

    def line(self, run: Any, shown: Universality) -> str:
        said = [_line(one.run, one.figure("features"), one.figure("neurons")) for one in shown.others]
        return f"{'; '.join(said)}. `sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/universality."


def others_of(run: Any, names: Sequence[str] = ()) -> dict[str, str]:
    """Ids of the indexes of runs that a run is held against, by these names or all that fit. Raises `UserError` for a
    name of a run of another text, and where none fits."""
    workspace = run.workspace
    mine, indexes = workspace.card(run.name), {}
    for name in names or sorted(workspace.runs()):
        card = workspace.card(name)  # refuses a name that is none
        there = name != run.name and card.corpus == mine.corpus and _indexed(workspace, name)
        if names and not there:
            raise UserError(
                f"Run {name!r} was to be compared with run {run.name!r}, and is that run, or is not indexed, or reads "
                "other text.",
                f"an indexed run of the text that run {run.name!r} reads",
                f"index it (`sparselex index {workspace.typed} --run {name}`), or name another by --others.",
            )
        if there and (names or _fits(run, name)):
            indexes[name] = workspace.artifacts(name)["index"].id
    if not indexes:
        raise UserError(
            f"Nothing is there with which the latents of run {run.name!r} could be compared.",
            "an indexed run of another model, or of another seed, over the same text",
            f"make one, such as `sparselex harvest {workspace.typed} --run b --model embedded-b`, then train and index "
            "it; or name one by --others.",
        )
    return indexes


def _indexed(workspace: Any, name: str) -> bool:
    return all(workspace.has(name, kind) for kind in ("dictionary", "index"))


def _fits(run: Any, other: str) -> bool:
    """Whether a run is looked at that nobody named."""
    workspace = run.workspace
    mine, card = workspace.card(run.name), workspace.card(other)
    own, there = run.manifest("index"), workspace.artifacts(other)["index"]
    same_model = own.inputs.get("model") == there.inputs.get("model")
    same_width = own.notes.get("d_sae") == there.notes.get("d_sae")
    return (
        card.sites == mine.sites and card.twin_of is None and card.twin == mine.twin and (same_width or not same_model)
    )


def _line(name: str, features: Any, neurons: Any) -> str:
    known = features is not None and features.value is not None
    said = f"median correlation with {name} {number(features.value, 3) if known else 'not measured'}"
    if known and features.null is not None:
        said += f" (chance {number(features.null, 2)})"
    return said if neurons is None or neurons.value is None else f"{said}, of neurons {number(neurons.value, 3)}"


def universality_of(run: Any) -> Universality:
    """How universal a run's latents are."""
    run.manifest(KIND)
    return record_of(Universality, run.folder / KIND, FILE)
