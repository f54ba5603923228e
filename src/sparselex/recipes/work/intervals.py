"""Hold a run's rules against activations of every size."""

from functools import partial

from sparselex.evaluate.intervals.config import IntervalsConfig
from sparselex.evaluate.intervals.walk import sample_intervals
from sparselex.evaluate.report import write_report
from sparselex.evaluate.ruled import Ruled, ruled
from sparselex.evaluate.twins import words_of
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.explained_controls import runs_of
from sparselex.recipes.run import Run
from sparselex.recipes.stages.intervals import SampleIntervals


def intervals_run(run: Run, stage: SampleIntervals) -> None:
    """The run's latents beside those of its controls; a report that is there already takes the figures up."""
    others = stage.facts(run)
    inputs = {kind: run.manifest(kind).id for kind in ("dictionary", "index", "explanations")} | others
    controls = {name: partial(_control, run, name) for name in runs_of(others)}
    to = run.folder / SampleIntervals.makes
    sample_intervals(_ruled(run, ""), controls, stage.part(IntervalsConfig), to, inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _control(run: Run, name: str) -> Ruled:
    return _ruled(Run.open(run.workspace, name), words_of(run.workspace, run.workspace.card(name)))


def _ruled(run: Run, words: str) -> Ruled:
    return ruled(run.name, words, run.index, ExplanationStore(run.workspace.database))
