"""Compare the two models of a run's crosscoder."""

from sparselex.atlas.config import DiffConfig
from sparselex.atlas.diff import diff
from sparselex.base.errors import UserError
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.diff import Diff


def diff_run(run: Run, stage: Diff) -> None:
    """What the crosscoder says of its two models; a report that is there already takes the figures up.

    Raises `UserError` for a run that reads one model.
    """
    if run.config.second_model is None:
        raise UserError(
            f"Run {run.name!r} reads one model, {run.config.model.name}.",
            "a run on two models",
            "harvest with --second-model under a --run of its own, and train there.",
        )
    dictionary = run.dictionary
    inputs = run.inputs() | {"dictionary": run.manifest("dictionary").id}
    diff(run.model, dictionary, run.corpus, run.sites, stage.part(DiffConfig), run.folder / Diff.makes, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
