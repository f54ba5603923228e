"""`analyse intervals`: an explained run in, how well explanations hold at every size of activation out."""

from typing import Annotated, Any

from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.formats import number, percent
from sparselex.evaluate.intervals.config import IntervalsConfig
from sparselex.evaluate.intervals.records import FILE, KIND, IntervalAnswers
from sparselex.recipes.explained_controls import explained_controls
from sparselex.recipes.stage import Stage


class SampleIntervals(Stage, IntervalsConfig):
    """Sample test examples of each latent evenly over the whole range of its activations, and see on which its rule
    says that it is active; and the rank correlation of what rules predict with what is there, over the mixture of
    examples of the 2023 paper. Beside the rules of other latents, neurons and random weights."""

    verb = "analyse intervals"
    needs = ("dictionary", "index", "explanations")
    makes = KIND
    work = "sparselex.recipes.work.intervals:intervals_run"
    gives = "sparselex.recipes.stages.intervals:intervals_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs that are held beside this one. Left out, all of its controls that are explained."""

    def facts(self, run: Any) -> dict[str, str]:
        """What these runs were measured on."""
        return explained_controls(run, self.others)

    def shown(self, run: Any) -> IntervalAnswers:
        return intervals_of(run)

    def line(self, run: Any, shown: IntervalAnswers) -> str:
        said = {figure.name.rpartition("/")[2]: figure for figure in shown.figures}
        whole, score = said["whole_range"], said["spearman_median"]
        where = f"`sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/{KIND}."
        if whole.value is None or score.value is None:
            return f"not measured. {where}"
        beside = "".join(f", {name} {number(value, 3)}" for name, value in score.controls.items())
        null = f"another latent's rule {number(score.null or 0, 3)}"
        told = f"{percent(whole.value)} of rules hold at every size of activation; median rank correlation"
        return f"{told} {number(score.value, 3)} ({null}{beside}). {where}"


def intervals_of(run: Any) -> IntervalAnswers:
    """How well a run's rules hold at every size of activation."""
    run.manifest(KIND)
    return record_of(IntervalAnswers, run.folder / KIND, FILE)
