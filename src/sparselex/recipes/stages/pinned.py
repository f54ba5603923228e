"""`analyse pinned`: a run in, whether text that is written while a latent is held is text on which it is active out."""

from typing import Any

from sparselex.base.artifacts import record_of
from sparselex.base.formats import counted
from sparselex.evaluate.pinned.config import PinnedConfig
from sparselex.evaluate.pinned.records import FILE, KIND, PinnedLatents
from sparselex.recipes.stage import Stage


class SamplePinned(Stage, PinnedConfig):
    """Hold some latents at their largest activations while the model writes, and see whether they are active on what it
    wrote when nothing is held: beside plain text, and text under other latents that are held as strongly."""

    verb = "analyse pinned"
    needs = ("dictionary", "index")
    reads = ("explanations",)
    makes = KIND
    work = "sparselex.recipes.work.pinned:pinned_run"
    gives = "sparselex.recipes.stages.pinned:pinned_of"

    def shown(self, run: Any) -> PinnedLatents:
        return pinned_of(run)

    def line(self, run: Any, shown: PinnedLatents) -> str:
        more = next(figure for figure in shown.figures if figure.name == "pinned/more_than_random")
        told = "not measured" if more.value is None else f"{more.value:.0%} (fewer: {more.null or 0:.0%})"
        n = counted(len(shown.latents), "latent")
        return f"{n}, active on more of their own pinned text than of another latent's: {told}, in {run.folder / KIND}"


def pinned_of(run: Any) -> PinnedLatents:
    """What was measured of the run's dictionary."""
    run.manifest(KIND)
    return record_of(PinnedLatents, run.folder / KIND, FILE)
