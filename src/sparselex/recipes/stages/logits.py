"""`analyse logits`: an explained run in, whether explanations say which tokens its latents raise out."""

from typing import Annotated, Any

from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Once
from sparselex.base.formats import number
from sparselex.evaluate.logits.config import LogitsConfig
from sparselex.evaluate.logits.records import FILE, KIND, LogitAnswers
from sparselex.recipes.explained_controls import explained_controls
from sparselex.recipes.stage import Stage


class AnswerLogits(Stage, LogitsConfig):
    """Ask of each latent's rule, and of nothing else, which of a hundred tokens the latent raises: half of them are
    raised by its logit weights, half drawn at random, and the answer is what follows in training text where the rule
    holds. Beside the rules of other latents, neurons and random weights."""

    verb = "analyse logits"
    needs = ("dictionary", "index", "explanations")
    makes = KIND
    work = "sparselex.recipes.work.logits:logits_run"
    gives = "sparselex.recipes.stages.logits:logits_of"

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs that are held beside this one. Left out, all of its controls that are explained."""

    def facts(self, run: Any) -> dict[str, str]:
        """What these runs were measured on."""
        return explained_controls(run, self.others)

    def shown(self, run: Any) -> LogitAnswers:
        return logits_of(run)

    def line(self, run: Any, shown: LogitAnswers) -> str:
        median = next(figure for figure in shown.figures if figure.name == "logits/accuracy_median")
        where = f"`sparselex serve {run.workspace.typed}` shows it at /runs/{run.name}/{KIND}."
        if median.value is None:
            return f"not measured: {median.failure}. {where}"
        beside = "".join(f", {name} {number(value, 3)}" for name, value in median.controls.items())
        null = f"another latent's rule {number(median.null or 0, 3)}"
        told = f"median accuracy {number(median.value, 3)} ({null}{beside})"
        return f"which tokens a latent raises, by its rule: {told}. {where}"


def logits_of(run: Any) -> LogitAnswers:
    """What a run's rules say of logit weights."""
    run.manifest(KIND)
    return record_of(LogitAnswers, run.folder / KIND, FILE)
