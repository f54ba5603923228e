"""A sweep: many dictionaries trained from one reading of the activations, and measured side by side."""

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from rich.table import Table

from sparselex.activations.config import Prefetch
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.prefetch import reading_ahead
from sparselex.activations.shuffle import ShuffledSource
from sparselex.atlas.records import SweepReport, SweepRow
from sparselex.base.artifacts import finished, open_artifact, stage, write_json
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.sites import Sites, hooks_of
from sparselex.dictionaries.dictionary import Dictionary, TrainableDictionary
from sparselex.dictionaries.kinds import Kind, SelectionDtype
from sparselex.dictionaries.table import config_type
from sparselex.evaluate.sweep import SHOWN, Measured, sweep_report
from sparselex.recipes.pipeline import BLOCK_TOKENS, Pipeline
from sparselex.recipes.run import OF_SOME_TYPES, TrainingChoice, check_fit, field_of
from sparselex.training.calibrate import Columns
from sparselex.training.config import TrainConfig
from sparselex.training.train import Job, train_many

FILE = "sweep.json"

DEFAULT_KS = (16, 32, 64)
"""Latents per token where none are named: enough for the front of one type."""


class SweepConfig(Config):
    """Every combination of these is one dictionary. All see the same batches in the same order.

    Values that only some types have (`ks`, `l1s`, `selection`, `options`) go to those of the `kinds` that take them.
    """

    kinds: tuple[Kind, ...] = ("batchtopk",)
    """Types of dictionary."""

    expansions: tuple[PositiveFloat, ...] = (8,)
    """Latents per dimension of the activations."""

    ks: tuple[PositiveInt, ...] = ()
    """Latents kept per token, or aimed at, for the types that have such a number; empty for 16, 32 and 64."""

    l1s: tuple[PositiveFloat, ...] = ()
    """Weights of the penalty, for the types that have one; empty for the default of each."""

    seeds: tuple[NonNegativeInt, ...] = (0,)
    """Seeds of the weights; with two or more the report has a table of stability."""

    hooks: tuple[str, ...] = ()
    """Where the model is read; empty for the run's own hook."""

    n_tokens: PositiveInt | None = None
    """Tokens to train on; None is one pass over the training documents."""

    selection: SelectionDtype | None = None
    """Precision in which latents are chosen, for the types that choose; None takes the fastest on this machine."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the types' configurations, by name; each goes to the types that have it."""

    prefetch: Prefetch = 0
    """Blocks of activations read ahead by a process of their own while the dictionaries learn; the result is the
    same."""

    n_rows: PositiveInt = 200
    """Rows of the test split on which all are measured."""

    moment_rows: PositiveInt = 512
    """Rows of the training split from which mean and principal components are taken."""


class Member(NamedTuple):
    """One dictionary of a sweep."""

    name: str
    hook: str
    choice: TrainingChoice
    settings: dict[str, Any]
    """What tells it from the others, its seed left out."""


class ReportConfig(Config):
    """What the figures of a sweep depend on."""

    members: list[str]
    """Names, in order."""

    n_rows: PositiveInt
    """Rows of the test split."""

    moment_rows: PositiveInt
    """Rows of the training split."""


def sweep(pipeline: Pipeline, config: SweepConfig) -> SweepReport:
    """Train and measure every combination that `config` names, in the folder `sweep` of the run.

    Killed and run again it goes on; members that exist already are not trained again. Raises `UserError` for impossible
    combinations and unknown hooks, and for a value that fits none of the types; a member that diverges is a row with
    its failure.
    """
    given = {"k": config.ks, "l1": config.l1s, "selection": config.selection}
    check_fit(config.kinds, {name: value for name, value in given.items() if value}, config.options)
    members = list(members_of(pipeline, config))
    if len({member.name for member in members}) < len(members):
        raise UserError(
            "Some combinations of the sweep are the same.", "each value once", "leave out what is given twice."
        )
    folder = pipeline.folder / "sweep"
    if len(config.hooks) > 1 and pipeline.config.second_model:
        raise UserError(
            "A sweep over several hooks of two models was asked for.",
            "several hooks, or two models",
            "sweep each hook in a run of its own.",
        )
    configs = [pipeline.train_config(member.choice, member.hook) for member in members]
    reader = _reader(pipeline, config)
    units = pipeline.units() if reader is None else LiveUnits(reader, ["train"])
    pipeline.keep()
    with reading_ahead(units, config.prefetch) as feed:
        source = ShuffledSource(feed, batch_size=configs[0].batch_size, block_tokens=BLOCK_TOKENS, seed=0)
        jobs = _jobs(pipeline, config, members, configs, folder, pipeline.notes_on(source, reader))
        trained = train_many(source, jobs)
    return _report(pipeline, config, members, jobs, trained, folder)


def members_of(pipeline: Pipeline, config: SweepConfig) -> Iterator[Member]:
    """Every combination as a choice of training, by a name that says what it is."""
    hooks = config.hooks or (pipeline.hook,)
    for hook, kind, expansion in product(hooks, config.kinds, config.expansions):
        takes = {name for name in OF_SOME_TYPES if field_of(kind, name)}
        ks: Sequence[int | None] = config.ks or DEFAULT_KS
        # A number among the options is the only one: the defaults would contradict it.
        if "k" not in takes or (not config.ks and field_of(kind, "k") in config.options):
            ks = (None,)
        l1s = (config.l1s or (None,)) if "l1" in takes else (None,)
        selection = config.selection if "selection" in takes else None
        options = {name: value for name, value in config.options.items() if name in config_type(kind).model_fields}
        for k, l1, seed in product(ks, l1s, config.seeds):
            amounts = {name: value for name, value in (("k", k), ("l1", l1)) if name in takes}
            values = {
                "kind": kind,
                "expansion": expansion,
                "seed": seed,
                "n_tokens": config.n_tokens,
                "selection": selection,
                "options": options,
            } | amounts
            where = f"{_slug(hook)}-" if len(hooks) > 1 else ""
            sizes = "".join(f"-{'l1-' if name == 'l1' else 'k'}{value:g}" for name, value in amounts.items() if value)
            name = f"{where}{kind}-x{expansion:g}{sizes}-s{seed}"
            settings = {"kind": kind, "expansion": expansion} | amounts
            yield Member(name, hook, TrainingChoice.parse(values, "the options of the sweep"), settings)


def use(pipeline: Pipeline, name: str, run: str) -> Pipeline:
    """Make the dictionary `name` of the run's sweep the dictionary of the new run `run`, ready for index, explain and
    evaluate.

    Raises `UserError` if there is no such dictionary or a run of that name.
    """
    source = pipeline.folder / "sweep" / name
    manifest = open_artifact(source, "dictionary", verify=True)
    choice = TrainingChoice.of(TrainConfig.parse(manifest.config))
    config = pipeline.config.model_copy(update={"hook": manifest.inputs["hook"], "training": choice, "cached": False})
    new = Pipeline(pipeline.workspace, run, config)
    if new.folder.exists():
        raise UserError(f"There is a run {run!r} already.", "a new name", "choose another with --as.")
    aside = new.folder.with_name(f".{run}.copy")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside / "dictionary")
    aside.rename(new.folder)
    new.keep()
    return new


def print_sweep(found: SweepReport, console: Console | None = None) -> None:
    """Print the table of dictionaries, best first within a hook by L0, and the table of stability."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(title="sweep; ● on the Pareto front against L0", title_justify="left")
    for column in ("dictionary", "L0", "FVU", "loss recovered", "95 % interval", "CE increase", "dead", "n"):
        table.add_column(column, justify="left" if column == "dictionary" else "right", overflow="fold")
    for row in sorted(found.rows, key=lambda row: (row.hook, row.value("core/l0") or 0.0)):
        if row.failure:
            table.add_row(row.name, f"failed: {row.failure}")
            continue
        figures = {figure.name: figure for figure in row.figures}
        l0, fvu, recovered, increase = (figures[name] for name in SHOWN)
        low, high = recovered.ci_low, recovered.ci_high
        table.add_row(
            row.name,
            _number(l0),
            _number(fvu, "core/fvu" in row.fronts),
            _number(recovered, recovered.name in row.fronts),
            "" if low is None or high is None else f"{low:.3f} … {high:.3f}",
            _number(increase),
            _number(figures["train/dead_share"]),
            f"{recovered.n:,}",
        )
    for name, controls in found.baselines.items():
        by_name = {figure.name: figure for figure in controls}
        l0, fvu, recovered, increase = (by_name[shown] for shown in SHOWN)
        table.add_row(
            f"(control) {name.rpartition('/')[2]}",
            _number(l0),
            _number(fvu),
            _number(recovered),
            "",
            _number(increase),
            "",
            f"{recovered.n:,}",
        )
    console.print(table)
    if found.stability:
        table = Table(title="stability between seeds", title_justify="left")
        for column in ("figure", "value", "95 % interval", "random rows", "n"):
            table.add_column(column, justify="left" if column == "figure" else "right")
        for figure in found.stability:
            if figure.value is None:
                table.add_row(figure.name, f"not measured: {figure.failure}")
                continue
            null = "" if figure.null is None else f"{figure.null:.3f}"
            table.add_row(
                figure.name.removeprefix("stability/"),
                f"{figure.value:.3f}",
                f"{figure.ci_low:.3f} … {figure.ci_high:.3f}",
                null,
                f"{figure.n:,}",
            )
        console.print(table)


def _number(figure: Figure, on_front: bool = False) -> str:
    if figure.value is None:
        return "not measured"
    return ("● " if on_front else "") + f"{figure.value:.3g}"


def _slug(hook: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._" else "_" for sign in hook)


def _reader(pipeline: Pipeline, config: SweepConfig) -> Reader | None:
    """What reads the model once for all hooks of the sweep; None where it is read at the run's own, from shards or
    live."""
    if not config.hooks or config.hooks == (pipeline.hook,):
        return None
    sites = Sites.at("+".join(config.hooks), pipeline.config.target, mask=pipeline.config.mask)
    return Reader(pipeline.model, pipeline.corpus, sites)


def _jobs(
    pipeline: Pipeline,
    config: SweepConfig,
    members: list[Member],
    configs: list[TrainConfig],
    folder: Path,
    notes: dict[str, Any],
) -> list[Job]:
    hooks, columns, start = config.hooks or (pipeline.hook,), dict[str, Columns](), 0
    for hook in hooks:
        columns[hook] = Columns(x=slice(start, start + sum(pipeline.model.widths(hooks_of(hook)))))
        start += sum(pipeline.model.widths(hooks_of(hook)))
    n_sites, medians = [len(pipeline.model.places(hooks_of(hook))) for hook in hooks], notes["median_norms"]
    jobs = []
    for member, chosen in zip(members, configs, strict=True):
        before = sum(n_sites[: hooks.index(member.hook)])
        own = medians[before : before + n_sites[hooks.index(member.hook)]] + medians[sum(n_sites) :]
        inputs = pipeline.inputs(member.hook)
        if len(hooks) > 1 or hooks != (pipeline.hook,):
            inputs.pop("shards", None)
            inputs["read"] = "+".join(hooks)  # a token that is an outlier at any of them is left out for all
        jobs.append(
            Job(
                chosen,
                folder / member.name,
                inputs,
                columns[member.hook],
                pipeline.config.model.name,
                member.hook,
                pipeline.config.target or "",
                notes | {"median_norms": own},
            )
        )
    return jobs


def _report(
    pipeline: Pipeline,
    config: SweepConfig,
    members: list[Member],
    jobs: list[Job],
    trained: list[TrainableDictionary | UserError],
    folder: Path,
) -> SweepReport:
    names = [member.name for member in members]
    manifests = {
        name: open_artifact(job.to, "dictionary")
        for name, job, found in zip(names, jobs, trained, strict=True)
        if isinstance(found, Dictionary)
    }
    inputs = {"model": pipeline.model.id, "corpus": pipeline.corpus.id} | {n: m.id for n, m in manifests.items()}
    wanted = ReportConfig(members=names, n_rows=config.n_rows, moment_rows=config.moment_rows)
    to = folder / "report"
    if finished(to, "sweep", wanted, inputs):
        return SweepReport.parse(json.loads((to / FILE).read_text(encoding="utf-8")), str(to / FILE))
    measured = []
    for member, found in zip(members, trained, strict=True):
        failure = str(found) if isinstance(found, UserError) else None
        row = SweepRow(
            name=member.name, hook=member.hook, settings=member.settings, seed=member.choice.seed, failure=failure
        )
        n_dead = manifests[member.name].notes["n_dead"] if member.name in manifests else 0
        measured.append(Measured(row, None if isinstance(found, UserError) else found, n_dead))
    readers = {
        hook: Reader(
            pipeline.model,
            pipeline.corpus,
            Sites.at(hook, pipeline.target, mask=pipeline.config.mask),
            batch_rows=16,
        )
        for hook in config.hooks or (pipeline.hook,)
    }
    with stage(to, "sweep", wanted, inputs) as staging:
        report = sweep_report(readers, measured, n_rows=config.n_rows, moment_rows=config.moment_rows)
        write_json(staging.folder / FILE, report.to_json())
        staging.finish()
    return report
