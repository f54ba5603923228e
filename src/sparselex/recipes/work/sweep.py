"""Sweep a run: many dictionaries trained from one reading of the activations, and measured side by side."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.prefetch import reading_ahead
from sparselex.activations.shuffle import ShuffledSource
from sparselex.atlas.records import SWEEP, SweepRow
from sparselex.base.artifacts import MANIFEST, Manifest, open_artifact, verified
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import flush, new_folder, write_json
from sparselex.base.sites import Hook, Sites, hooks_of
from sparselex.base.staging import stage as staged
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.evaluate.sweep import Measured, sweep_report
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.folder import stage_cards
from sparselex.recipes.run import BLOCK_TOKENS, Run
from sparselex.recipes.stages.sweep import SWEPT, Sweep
from sparselex.recipes.stages.train import Train
from sparselex.recipes.work.choices import OF_SOME_TYPES, check_fit, choice_of, field_of, own_fields, train_config
from sparselex.training.calibrate import Columns
from sparselex.training.config import TrainConfig
from sparselex.training.room import check_room
from sparselex.training.rows import LiveRows
from sparselex.training.train import Job, train_many

DEFAULT_KS = (16, 32, 64)
"""Latents per token where none are named: enough for the front of one type."""


class Member(NamedTuple):
    """One dictionary of a sweep."""

    name: str
    hooks: tuple[Hook, ...]
    choice: TrainingChoice
    settings: dict[str, Any]
    """What tells it from the others, its seed left out."""


class SweepReportConfig(Config):
    """What the figures of a sweep depend on."""

    members: list[str]
    """Names, in order."""

    n_rows: int
    """Rows of the test split."""

    moment_rows: int
    """Rows of the training split."""


def sweep_run(run: Run, stage: Sweep) -> None:
    """Train and measure every combination that `stage` names, in the folder `swept` of the run.

    Killed and run again it goes on; members that exist already are not trained again. Raises `UserError` for impossible
    combinations and unknown hooks, and for a value that fits none of the types; a member that diverges is a row with
    its failure.
    """
    members = checked_members(run, stage)
    places = _places(run, stage)
    configs = [train_config(run, member.choice, member.hooks) for member in members]
    made = [(run.folder / SWEPT / member.name / MANIFEST).is_file() for member in members]
    check_room([config for config, is_made in zip(configs, made, strict=True) if not is_made])
    reader = _reader(run, places)
    units = run.units() if reader is None else LiveUnits(reader, ["train"])
    run.keep(stage)
    with reading_ahead(units, stage.prefetch) as feed:
        source = ShuffledSource(feed, batch_size=configs[0].batch_size, block_tokens=BLOCK_TOKENS, seed=0)
        jobs = _jobs(run, places, members, configs, run.notes_on(source, reader))
        trained = train_many(source, jobs, live=_live(run, reader, configs[0]))
    _report(run, stage, places, members, jobs, trained)


def checked_members(run: Run, stage: Sweep) -> list[Member]:
    """Every combination of a sweep. Raises `UserError` for what fits none of the types, what is named twice, and hooks
    of two models."""
    given = {"k": stage.ks, "l1": stage.l1s, "selection": stage.selection}
    check_fit(stage.kinds, {name: value for name, value in given.items() if value}, stage.options)
    members = list(members_of(run, stage))
    if len({member.name for member in members}) < len(members):
        raise UserError(
            "Some combinations of the sweep are the same.", "each value once", "leave out what is given twice."
        )
    if len(stage.hooks) > 1 and run.config.second_model:
        raise UserError(
            "A sweep over several hooks of two models was asked for.",
            "several hooks, or two models",
            "sweep each hook in a run of its own.",
        )
    return members


def members_of(run: Run, stage: Sweep) -> Iterator[Member]:
    """Every combination as a choice of training, by a name that says what it is."""
    places = _places(run, stage)
    for hooks, kind, expansion in product(places, stage.kinds, stage.expansions):
        where = f"{_slug('+'.join(hooks))}-" if len(places) > 1 else ""
        for choice in _choices(stage, kind, expansion):
            amounts = {name: value for name in ("k", "l1") if field_of(kind, name) and (value := getattr(choice, name))}
            sizes = "".join(f"-{'l1-' if name == 'l1' else 'k'}{value:g}" for name, value in amounts.items())
            settings = {"kind": kind, "expansion": expansion}
            settings |= {name: getattr(choice, name) for name in ("k", "l1") if field_of(kind, name)}
            yield Member(f"{where}{kind}-x{expansion:g}{sizes}-s{choice.seed}", hooks, choice, settings)


def _choices(stage: Sweep, kind: str, expansion: float) -> Iterator[TrainingChoice]:
    takes = {name for name in OF_SOME_TYPES if field_of(kind, name)}
    ks: Sequence[int | None] = stage.ks or DEFAULT_KS
    # A number among the options is the only one: the defaults would contradict it.
    if "k" not in takes or (not stage.ks and field_of(kind, "k") in stage.options):
        ks = (None,)
    l1s: Sequence[float | None] = (stage.l1s or (None,)) if "l1" in takes else (None,)
    common = {
        "kind": kind,
        "expansion": expansion,
        "n_tokens": stage.n_tokens,
        "recipe": stage.recipe,
        "finish": stage.finish,
        "finish_share": stage.finish_share,
        "selection": stage.selection if "selection" in takes else None,
        "options": {name: value for name, value in stage.options.items() if name in own_fields(kind)},
    }
    for k, l1, seed in product(ks, l1s, stage.seeds):
        yield TrainingChoice.parse(common | {"k": k, "l1": l1, "seed": seed}, "the options of the sweep")


def use(run: Run, name: str, new_name: str) -> Run:
    """Make the dictionary `name` of the run's sweep the dictionary of the new run `new_name`, ready for index, explain
    and evaluate.

    Raises `UserError` if there is no such dictionary, or another run of that name.
    """
    source = run.folder / SWEPT / _member(run, name)
    manifest = open_artifact(source, "dictionary")
    for file in manifest.files:
        verified(source, file, manifest)
    train = Train(**choice_of(TrainConfig.parse(manifest.config)).to_json())
    config = run.config.model_copy(update={"hook": manifest.inputs["hook"]}).with_stage(Train.verb, train.kept())
    new = Run(run.workspace, new_name, config, goes_on=True)
    if new.folder.exists():
        if new.has("dictionary") and new.manifest("dictionary").id == manifest.id:
            return new  # it is made already
        raise UserError(f"There is a run {new_name!r} already.", "a new name", "choose another with --as.")
    # The corpus too is that of the run it comes from, whatever has become of the text since.
    told = {"name": new_name, "sites": new.sites, "stages": stage_cards()}
    with new_folder(new.folder) as aside:
        (aside / "dictionary").mkdir()
        for file in (*manifest.files, MANIFEST):
            shutil.copy2(source / file, aside / "dictionary" / file)
        run.workspace.keep(run.workspace.card(run.name).model_copy(update=told), config.to_json(), aside)
    flush(new.folder.parent)
    return new


def _member(run: Run, name: str) -> str:
    """The name of a dictionary of the sweep. Raises `UserError` if there is none of that name."""
    names = sorted(path.parent.name for path in (run.folder / SWEPT).glob(f"*/{MANIFEST}"))
    if name not in names:
        raise UserError(
            f"The sweep of run {run.name!r} has no dictionary {name!r}.",
            "one of " + (", ".join(names) or "(none: run `sparselex sweep` first)"),
            "take a name from the sweep's table.",
        )
    return name


def _slug(hook: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._" else "_" for sign in hook)


def _places(run: Run, stage: Sweep) -> list[tuple[Hook, ...]]:
    """What each group of dictionaries reads."""
    return [hooks_of(hook) for hook in stage.hooks] or [run.sites.hooks]


def _live(run: Run, reader: Reader | None, config: TrainConfig) -> LiveRows | None:
    """Rows for the finish, the same for all dictionaries."""
    if config.finish == "nothing":
        return None
    return LiveRows(run.reader if reader is None else reader, batch_size=config.batch_size, seed=0)


def _sites(run: Run, places: Sequence[tuple[Hook, ...]]) -> Sites:
    """All that is read for a sweep, side by side."""
    together = tuple(hook for hooks in places for hook in hooks)
    return run.sites.model_copy(update={"hooks": together})


def _reader(run: Run, places: Sequence[tuple[Hook, ...]]) -> Reader | None:
    """What reads the model once for all hooks of the sweep; None where it is read at the run's own, from shards or
    live."""
    if list(places) == [run.sites.hooks]:
        return None
    return Reader(run.model, run.corpus, _sites(run, places))


def _jobs(
    run: Run,
    places: Sequence[tuple[Hook, ...]],
    members: Sequence[Member],
    configs: Sequence[TrainConfig],
    notes: dict[str, Any],
) -> list[Job]:
    columns, medians, start, site = dict[Any, Columns](), dict[Any, list[float]](), 0, 0
    n_sites = sum(len(run.model.places(hooks)) for hooks in places)
    for hooks in places:
        width, n = sum(map(run.model.width, hooks)), len(run.model.places(hooks))
        columns[hooks] = Columns(x=slice(start, start + width))
        medians[hooks] = notes["median_norms"][site : site + n] + notes["median_norms"][n_sites:]
        start, site = start + width, site + n
    jobs = []
    for member, config in zip(members, configs, strict=True):
        inputs = run.inputs(member.hooks)
        if list(places) != [run.sites.hooks]:
            inputs.pop("shards", None)
            # A token that is an outlier at any of them is left out for all.
            inputs["read"] = "+".join(_sites(run, places).hooks)
        job = Job(
            config,
            run.folder / SWEPT / member.name,
            inputs,
            columns=columns[member.hooks],
            model_name=run.config.model.name,
            sites=run.sites_at(member.hooks),
            notes=notes | {"median_norms": medians[member.hooks]},
        )
        jobs.append(job)
    return jobs


def _report(
    run: Run,
    stage: Sweep,
    places: Sequence[tuple[Hook, ...]],
    members: Sequence[Member],
    jobs: Sequence[Job],
    trained: Sequence[TrainableDictionary | UserError],
) -> None:
    """Measure all members and write the report; unchanged ones are not measured again."""
    alive = [not isinstance(outcome, UserError) for outcome in trained]
    manifests = {
        m.name: open_artifact(job.to, "dictionary")
        for m, job, is_there in zip(members, jobs, alive, strict=True)
        if is_there
    }
    inputs = {"model": run.model.id, "corpus": run.corpus.id} | {name: m.id for name, m in manifests.items()}
    wanted = SweepReportConfig(members=[m.name for m in members], n_rows=stage.n_rows, moment_rows=stage.moment_rows)
    to = run.folder / Sweep.makes
    with staged(to, "sweep", wanted, inputs) as staging:
        if staging.made:
            return
        measured = [_measured(m, outcome, manifests.get(m.name)) for m, outcome in zip(members, trained, strict=True)]
        sites = {"+".join(hooks): run.sites_at(hooks) for hooks in places}
        readers = {name: Reader(run.model, run.corpus, at) for name, at in sites.items()}
        report = sweep_report(readers, measured, n_rows=stage.n_rows, moment_rows=stage.moment_rows)
        write_json(staging.folder / SWEEP, report.to_json())
        staging.finish()


def _measured(member: Member, outcome: TrainableDictionary | UserError, manifest: Manifest | None) -> Measured:
    failure = str(outcome) if isinstance(outcome, UserError) else None
    row = SweepRow(
        name=member.name,
        hook="+".join(member.hooks),
        settings=member.settings,
        seed=member.choice.seed,
        failure=failure,
    )
    n_dead = manifest.notes["n_dead"] if manifest else 0
    return Measured(row, None if isinstance(outcome, UserError) else outcome, n_dead)
