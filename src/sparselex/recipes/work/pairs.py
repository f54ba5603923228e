"""Train two dictionaries around an MLP together, beside their controls, and measure what came of it."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.shuffle import ShuffledSource
from sparselex.base.artifacts import MANIFEST, open_artifact, verified
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Figures
from sparselex.base.files import new_folder, write_json
from sparselex.base.sites import Sites
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import Workspace
from sparselex.causal.jacobians import LatentMlp
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.table import kind_of
from sparselex.evaluate.core import AT_MEAN, core_sums
from sparselex.evaluate.moments import training_rows
from sparselex.evaluate.pairs.figures import Measured, pair_figures
from sparselex.evaluate.pairs.measured import jacobian_sums
from sparselex.evaluate.pairs.records import (
    ARMS,
    CARD,
    FILE,
    FOLDER,
    KIND,
    PENALISED,
    PLAIN,
    RANDOM,
    RANDOM_PLAIN,
    Arm,
    PairCard,
)
from sparselex.evaluate.report import write_report
from sparselex.evaluate.rows import rows_to_judge
from sparselex.evaluate.subjects import Itself
from sparselex.lm.load import float64_device, load_model
from sparselex.lm.mlps import Formula, formula_between
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.pairs import CardConfig, PairOptions, made_names
from sparselex.recipes.run import BLOCK_TOKENS, Run
from sparselex.recipes.work.made_of_pair import check_names, make_run
from sparselex.training.pairs import KIND as TRAINED
from sparselex.training.pairs import PairConfig, PairJob, TrainedPair, train_pairs

KINDS = ("topk", "batchtopk")
"""Types of which as many latents are active as were asked for, whatever the penalty does."""

_LEAST_DOCUMENTS = 5

_MEAN_ROWS = 1024
"""Training rows that the mean of a site is from."""

_WEIGHTS: Mapping[str, tuple[str, ...]] = {"": (PENALISED, PLAIN), "reinitialised": (RANDOM, RANDOM_PLAIN)}
"""The pairs of the model and of its twin: with and without the penalty."""


class _Side(NamedTuple):
    """A model with what reads both sites side by side, and the MLP between them."""

    reader: Reader
    model: SubjectModel
    mlp: Formula
    inputs: Mapping[str, str]


def train_pair_runs(workspace: Workspace, run: str, options: PairOptions, *, replace: bool) -> None:
    """The pairs, the runs and the card. Raises `UserError` like `recipes.pairs.pair_runs`."""
    one, other = Run.open(workspace, run), Run.open(workspace, options.into)
    _check_runs(one, other)
    configs = [_dictionary(each) for each in (one, other)]
    names = made_names(run, options)
    folder = workspace.path / FOLDER / names[0]
    sides = {"": _side(one, other, one.subject)}
    config = _config(one, options, configs)
    rows = rows_to_judge(one.corpus, options.rows)
    _check_documents(one, rows)
    jobs = _jobs(folder, sides[""], config, "")
    _check_replaced(jobs, replace=replace)
    made = open_artifact(jobs[0].to, TRAINED).id if (jobs[0].to / MANIFEST).is_file() else None
    check_names(workspace, names, (run, options.into), made, replace=replace)
    sides["reinitialised"] = _side(one, other, _twin(one, options))
    trained = dict[str, TrainedPair]()
    for twin, side in sides.items():
        source = ShuffledSource(
            LiveUnits(side.reader, ["train"]),
            batch_size=config.batch_size,
            block_tokens=BLOCK_TOKENS,
            seed=options.seed,
        )
        mlp = side.mlp.to(torch.zeros((), device=config.device))
        jobs = _jobs(folder, side, config, twin)
        for job in jobs:
            _take_over(job)
        found = train_pairs(source, jobs, partial(LatentMlp.of, mlp))
        trained |= dict(zip(_WEIGHTS[twin], found, strict=True))
    for number, each in enumerate((one, other)):
        make_run(each, names[number], trained[PENALISED], number)
    _measure(folder, (one, other), names, options, sides, trained, rows)
    if workspace.report.exists():
        write_report(workspace)


def _check_runs(one: Run, other: Run) -> None:
    """Raise `UserError` unless both read the same trained model and text, at one site each."""
    for each in (one, other):
        if each.config.second_model or each.config.model.twin != "none":
            raise UserError(
                f"Run {each.name!r} reads {'two models' if each.config.second_model else 'a random-weight twin'}.",
                "runs of one model as it was trained: its twin is trained on here by itself",
                "name other runs.",
            )
        if each.sites.target or len(each.sites.hooks) != 1:
            raise UserError(
                f"Run {each.name!r} reads {each.sites}.",
                "an autoencoder of one site",
                "name a run that was begun with a single --hook and without --target.",
            )
    same = (one.config.model, one.config.text) == (other.config.model, other.config.text)
    if not same:
        raise UserError(
            f"Runs {one.name!r} and {other.name!r} read different models or text: {one.config.model.name} and "
            f"{other.config.model.name}, {one.config.text.source} and {other.config.text.source}.",
            "two runs that differ in --hook alone",
            "begin another run with the options of this one and the other hook.",
        )


def _dictionary(run: Run) -> DictionaryConfig:
    """The configuration of a run's dictionary. Raises `UserError` for a type without a fixed number of active
    latents."""
    config = run.dictionary.config
    plain = config.normalises == "none" and config.target_width is None and not config.only_read
    if kind_of(config) not in KINDS or not plain:
        more = "" if config.normalises == "none" else f", and normalises tokens ({config.normalises})"
        raise UserError(
            f"The dictionary of run {run.name!r} is of type {kind_of(config)}{more}.",
            f"{' or '.join(KINDS)}, reading tokens as they are: with a number of active latents that is asked for, the "
            "penalty cannot be met by silence",
            "train a run of one of these types at the same hook.",
        )
    return config


def _config(run: Run, options: PairOptions, configs: list[DictionaryConfig]) -> PairConfig:
    n_tokens = run.n_training_tokens if options.n_tokens is None else options.n_tokens
    return PairConfig(
        x=configs[0],
        y=configs[1],
        weight=options.weight,
        every=options.every,
        n_tokens=n_tokens,
        device=_device_of(run),
        seed=options.seed,
    )


def _side(one: Run, other: Run, model: SubjectModel) -> _Side:
    """A model at both sites. Raises `UserError` where they are not those around one MLP of matrices."""
    hooks = (*one.sites.hooks, *other.sites.hooks)
    sites = Sites(hooks=hooks, mask=one.config.mask)
    mlp = formula_between(model, *hooks)
    inputs = {"model": model.id, "corpus": one.corpus.id, **sites.names(), "mask": _mask(one)}
    parents = {f"{name} dictionary": run.manifest("dictionary").id for name, run in (("x", one), ("y", other))}
    return _Side(Reader(model, one.corpus, sites), model, mlp, inputs | parents)


def _mask(run: Run) -> str:
    return run.inputs()["mask"]


def _twin(run: Run, options: PairOptions) -> SubjectModel:
    return load_model(run.config.with_twin("reinitialised", options.seed).model)


def _jobs(folder: Path, side: _Side, config: PairConfig, twin: str) -> list[PairJob]:
    return [
        PairJob(config.model_copy(update={"weight": weight}), folder / name, side.inputs)
        for name, weight in zip(_WEIGHTS[twin], (config.weight, 0.0), strict=True)
    ]


def _check_replaced(jobs: list[PairJob], *, replace: bool) -> None:
    """Raise `UserError` where a pair of other settings lies in the place of this one."""
    for job in jobs:
        if replace or not (job.to / MANIFEST).is_file():
            continue
        made = open_artifact(job.to, TRAINED)
        if (made.config, made.inputs) != (job.config.to_json(), dict(job.inputs)):
            raise UserError(
                f"The pair {job.to.parent.name!r} was trained with other settings already, or from other dictionaries.",
                "the settings that it was trained with, or another name",
                "give this one another --name, or add --replace.",
            )


def _take_over(job: PairJob) -> None:
    """Copy what another pair of the workspace has trained with these very settings, such as the one without the penalty
    beside another weight; not where training has begun already."""
    key = TRAINED, job.config, job.inputs
    if finished(job.to, *key) or job.to.with_name(f".{job.to.name}.partial").exists():
        return
    others = (path.parent for path in sorted(job.to.parent.parent.glob(f"*/{job.to.name}/{MANIFEST}")))
    if (other := next((one for one in others if finished(one, *key)), None)) is not None:
        manifest = open_artifact(other, TRAINED)
        for name in manifest.files:
            verified(other, name, manifest)  # a copy of what is damaged would be one more
        with new_folder(job.to, replaces=True) as aside:
            shutil.copytree(other, aside, dirs_exist_ok=True)


def _check_documents(run: Run, rows: NDArray[np.int64]) -> None:
    owners = np.asarray(run.corpus.documents[rows])
    if (n := len(np.unique(owners[owners >= 0]))) < _LEAST_DOCUMENTS:
        raise UserError(
            f"There are {n} documents to test on.",
            f"{_LEAST_DOCUMENTS} or more: figures are uncertain over documents",
            "harvest more text, or give the test split a larger share (--shares).",
        )


def _device_of(run: Run) -> str:
    """Where the dictionaries are: where the model is, or beside it."""
    return float64_device(run.config.model.device)


def _measure(
    folder: Path,
    parents: tuple[Run, Run],
    names: tuple[str, str],
    options: PairOptions,
    sides: Mapping[str, _Side],
    trained: Mapping[str, TrainedPair],
    rows: NDArray[np.int64],
) -> None:
    config = CardConfig(rows=options.rows, seed=options.seed, weight=options.weight)
    inputs = {name: pair.id for name, pair in trained.items()}
    with stage(folder / CARD, KIND, config, inputs) as staging:
        if staging.made:
            return
        arms = dict[str, Measured]()
        for pair in trained.values():
            pair.dictionary.to(_device_of(parents[0]))
        for twin, side in sides.items():
            arms |= _measured(side, {name: trained[name] for name in _WEIGHTS[twin]}, rows, options.seed)
        figures, owners = pair_figures(arms), np.asarray(parents[0].corpus.documents[rows])
        hooks = tuple(str(each.sites.hooks[0]) for each in parents)
        card = PairCard(
            name=names[0],
            model=parents[0].config.model.name,
            hooks=(hooks[0], hooks[1]),
            parents=(parents[0].name, parents[1].name),
            runs=names,
            weight=options.weight,
            arms=[_arm(folder / name) for name in trained],
            n_tokens=int(arms[PENALISED].jacobians.own[:, 0].sum()),
            n_documents=len(np.unique(owners[owners >= 0])),
            figures=figures,
        )
        write_json(staging.folder / FILE, card.to_json())
        Figures(figures=figures).write(staging.folder)
        staging.finish(files=dict.fromkeys([FILE, FIGURES]))


def _measured(
    side: _Side, trained: Mapping[str, TrainedPair], rows: NDArray[np.int64], seed: int
) -> dict[str, Measured]:
    """Sums of the pairs of one model over test rows."""
    sample = side.reader.read(training_rows(side.reader, _MEAN_ROWS))
    mean = sample.x.mean(0, dtype=torch.float64).float()
    jacobians = jacobian_sums(side.reader, side.mlp, trained, rows, seed)
    sums = core_sums(side.reader, {name: Itself(pair.dictionary) for name, pair in trained.items()}, mean, rows)
    return {name: Measured(jacobians[name], sums[name], sums[AT_MEAN]) for name in trained}


def _arm(folder: Path) -> Arm:
    made = open_artifact(folder, TRAINED)
    return Arm(
        name=folder.name,
        words=ARMS[folder.name],
        model=made.inputs["model"],
        weight=made.config["weight"],
        n_tokens=made.notes["n_tokens"],
        n_dead=made.notes["n_dead"],
    )
