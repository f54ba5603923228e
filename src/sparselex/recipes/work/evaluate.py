"""Evaluate a run."""

from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.evaluate import evaluate
from sparselex.evaluate.records import Evaluation
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.evaluate import Evaluate


def evaluate_run(run: Run, stage: Evaluate) -> None:
    """Measure the run's dictionary beside its controls, and write the report."""
    index, dictionary, config = run.index, run.dictionary, stage.part(EvaluateConfig)
    inputs = {"index": index.id, "dictionary": run.manifest("dictionary").id, "model": run.model.id}
    evaluate(run.model, dictionary, index, run.sites, config, run.folder / Evaluate.makes, inputs=inputs)
    run.keep_options(stage)
    write_report(run.workspace)


def evaluation_of(run: Run) -> Evaluation:
    """The run's figures."""
    run.manifest(Evaluate.makes)
    return Evaluation.read(run.folder / Evaluate.makes)
