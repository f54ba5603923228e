"""Evaluate a run."""

from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.evaluate import evaluate
from sparselex.evaluate.records import Evaluation
from sparselex.evaluate.report import write_report
from sparselex.explain.store import ExplanationStore
from sparselex.explain.summary import KIND as EXPLANATIONS
from sparselex.recipes.run import Run
from sparselex.recipes.stages.evaluate import Evaluate


def evaluate_run(run: Run, stage: Evaluate) -> None:
    """Measure the run's dictionary beside its controls, and write the report."""
    index, dictionary, config = run.index, run.dictionary, stage.part(EvaluateConfig)
    index.check_whole("evaluating")
    made, to = run.manifest("dictionary"), run.folder / Evaluate.makes
    inputs = {"index": index.id, "dictionary": made.id, "model": run.model.id}
    # What other projects asked for, their files do not say: fields of ours hold defaults then.
    asked_l0 = None if "source" in made.config else dictionary.config.asked_l0
    explanations = []
    if run.has(EXPLANATIONS):
        explained = run.manifest(EXPLANATIONS)
        inputs[EXPLANATIONS] = explained.id
        explanations = ExplanationStore(run.workspace.database).all(index.id, explained.config["explainer"])
    evaluate(
        run.model,
        dictionary,
        index,
        run.sites,
        config,
        to,
        inputs=inputs,
        asked_l0=asked_l0,
        explanations=explanations,
    )
    run.keep_options(stage)
    write_report(run.workspace)


def evaluation_of(run: Run) -> Evaluation:
    """The run's figures."""
    run.manifest(Evaluate.makes)
    return Evaluation.read(run.folder / Evaluate.makes)
