"""Ask of a run's rules which tokens its latents raise."""

from functools import partial

from sparselex.base.errors import UserError
from sparselex.evaluate.logits.config import LogitsConfig
from sparselex.evaluate.logits.walk import Looked, answer_logits
from sparselex.evaluate.report import write_report
from sparselex.evaluate.ruled import ruled
from sparselex.evaluate.twins import words_of
from sparselex.explain.store import ExplanationStore
from sparselex.features.stream import written_to_stream
from sparselex.recipes.explained_controls import runs_of
from sparselex.recipes.run import Run
from sparselex.recipes.stages.logits import AnswerLogits


def logits_run(run: Run, stage: AnswerLogits) -> None:
    """The run's latents beside those of its controls; a report that is there already takes the figures up."""
    others = stage.facts(run)
    inputs = {kind: run.manifest(kind).id for kind in ("dictionary", "index", "explanations")}
    inputs |= {"model": run.model.id} | others
    controls = {name: partial(_control, run, name) for name in runs_of(others)}
    answer_logits(_looked(run, ""), controls, stage.part(LogitsConfig), run.folder / AnswerLogits.makes, inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _control(run: Run, name: str) -> Looked:
    return _looked(Run.open(run.workspace, name), words_of(run.workspace, run.workspace.card(name)))


def _looked(run: Run, words: str) -> Looked:
    """A run's latents with what they write. Raises `UserError` where activations have signs, or nothing written reaches
    the logits directly."""
    dictionary = run.dictionary
    if dictionary.signed:
        raise UserError(
            f"Activations of run {run.name!r} have either sign, and a latent raises what its opposite lowers.",
            "a dictionary whose activations are not negative",
            "name another run.",
        )
    store = ExplanationStore(run.workspace.database)
    written = written_to_stream(run.model, dictionary.W_dec.detach().to(run.model.device), run.sites)
    return Looked(ruled(run.name, words, run.index, store), written)
