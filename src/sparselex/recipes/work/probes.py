"""Probe a run's dictionary."""

from sparselex.base.errors import UserError
from sparselex.evaluate.probes.coded import Judged
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.walk import Controls, probe_dictionary
from sparselex.evaluate.report import write_report
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run
from sparselex.recipes.stages.probes import Probes, controls_of


def probes_run(run: Run, stage: Probes) -> None:
    """Probe the dictionary beside its controls; a report that is there already takes the figures up."""
    judged, others = _judged(run), [Run.open(run.workspace, name) for name in controls_of(run)]
    found = {other.name: _judged(other) for other in others if _is_one_site(other)}
    same = [name for name, other in found.items() if (other.model.id, other.hook) == (judged.model.id, judged.hook)]
    controls = Controls(
        {name: found[name].dictionary for name in same},
        {name: other for name, other in found.items() if name not in same},
    )
    inputs = {"dictionary": run.manifest("dictionary").id, "model": run.model.id, "corpus": run.corpus.id}
    inputs |= {f"{other.name}/dictionary": other.manifest("dictionary").id for other in others if other.name in found}
    config = stage.part(ProbesConfig)
    probe_dictionary(judged, controls, run.corpus, config, run.folder / Probes.makes, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _judged(run: Run) -> Judged:
    """The dictionary of a run at its site. Raises `UserError` unless it is an autoencoder of one site of one model."""
    if not _is_one_site(run) or not isinstance(run.model, SubjectModel):
        raise UserError(
            f"Run {run.name!r} reads {run.sites}.",
            "an autoencoder of one site of one model: ablations are made where it reads",
            "name another run.",
        )
    return Judged(run.model, run.sites.hooks[0], run.dictionary, run.config.text.bos, run.within)


def _is_one_site(run: Run) -> bool:
    return len(run.sites.hooks) == 1 and not run.sites.target and run.config.second_model is None
