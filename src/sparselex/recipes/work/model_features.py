"""Measure how far a run's dictionary is one of the model."""

from collections.abc import Iterator

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.sites import Hook
from sparselex.dictionaries.files import load_dictionary
from sparselex.evaluate.model_features.asked import Into, Other
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.records import KIND
from sparselex.evaluate.model_features.walk import model_features
from sparselex.evaluate.report import write_report
from sparselex.evaluate.twins import words_of
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run
from sparselex.recipes.stages.model_features import FeaturesOfModel, others_of

_KNOWN = ("core/l0", "core/ce_increase", "core/loss_recovered_mean", f"{KIND}/unread_variance", f"{KIND}/relevance")
"""What is shown of another dictionary beside how far it is the same."""


def model_features_run(run: Run, stage: FeaturesOfModel) -> None:
    """The card of the run's dictionary; a report that is there already takes its figures up."""
    model = run.model
    if not isinstance(model, SubjectModel):
        raise UserError(
            f"Run {run.name!r} reads two models.",
            "a dictionary of one model: what is read of its directions is asked there",
            "name another run.",
        )
    hook, others, into = _hook(run, stage), others_of(run, stage.others), _into(run, stage)
    inputs = {"dictionary": run.manifest("dictionary").id, "model": model.id, "corpus": run.corpus.id, "at": str(hook)}
    inputs |= run.sites.names() | {f"{name}/dictionary": run_id for name, run_id in others.items()}
    if into is not None:
        inputs |= {"into": run.workspace.artifacts(into.run)["dictionary"].id}
    reader, to = Reader(model, run.corpus, run.sites), run.folder / FeaturesOfModel.makes
    config = stage.part(ModelFeaturesConfig)
    beside = {name: _other(run, name) for name in others}
    model_features(model, reader, hook, run.dictionary, config, to, inputs=inputs, others=beside, into=into)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _hook(run: Run, stage: FeaturesOfModel) -> Hook:
    """The site that is asked about: of several the last that is written, if none is named."""
    written = run.sites.written
    if stage.at is None:
        return written[-1]
    if stage.at not in {str(hook) for hook in written}:
        raise UserError(
            f"Run {run.name!r} writes nothing at {stage.at!r}.",
            f"a site that its dictionary writes to: {', '.join(map(str, written))}",
            "name one of these by --at, or leave it out.",
        )
    return Hook(stage.at)


def _into(run: Run, stage: FeaturesOfModel) -> Into | None:
    """The later dictionary. Raises `UserError` for one that is none of a single later site of the same model."""
    if stage.into is None:
        return None
    other = Run.open(run.workspace, stage.into)
    mine, theirs = (run.workspace.card(name) for name in (run.name, stage.into))
    order = [point.name for point in run.model.hooks()]
    place = lambda hook: order.index(hook.whole) if hook.whole in order else -1
    alike = (mine.model, mine.twin, theirs.second_model) == (theirs.model, theirs.twin, None)
    if not alike or len(other.sites.hooks) != 1 or place(other.sites.hooks[0]) <= place(run.sites.written[-1]):
        raise UserError(
            f"Run {stage.into!r} reads {other.sites} of {theirs.model}, and run {run.name!r} {run.sites} of "
            f"{mine.model}.",
            "a dictionary that reads one site of the same model, later in the pass",
            "name another run by --into, or leave it out.",
        )
    dictionary = load_dictionary(other.folder / "dictionary").to(run.dictionary.W_dec.device)
    return Into(stage.into, dictionary, other.sites.hooks[0])


def _other(run: Run, name: str) -> Other:
    folder = run.workspace.run(name)
    dictionary = load_dictionary(folder / "dictionary").to(run.dictionary.W_dec.device)
    return Other(dictionary, words_of(run.workspace, run.workspace.card(name)), tuple(_known(run, name)))


def _known(run: Run, name: str) -> Iterator[Figure]:
    for artifact in ("evaluation", KIND):
        folder, made = run.workspace.run(name) / artifact, run.workspace.artifacts(name)
        mine = artifact in made and made[artifact].inputs.get("dictionary") == made["dictionary"].id
        if mine and (folder / FIGURES).exists():  # figures of a dictionary that is gone are not this one's
            yield from (figure for figure in Figures.read(folder).figures if figure.name in _KNOWN)
