"""Train dictionaries: the walk from a stream of activations to folded weights on disk, one dictionary or many at a
time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparselex.activations.source import ActivationSource, Batch
from sparselex.base.errors import UserError
from sparselex.base.seeds import derive
from sparselex.base.sites import Sites
from sparselex.base.staging import Staging, finished, stage, watched
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.ranks import ALONE, Ranks, even_part
from sparselex.dictionaries.table import kind_of
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training.calibrate import Columns
from sparselex.training.checkpoint import whole_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.log import LOG, Observer
from sparselex.training.room import check_room
from sparselex.training.rows import LiveRows
from sparselex.training.trainer import Term, Trainer
from sparselex.training.walk import walk


class Job(NamedTuple):
    """One dictionary to be trained on a stream."""

    config: TrainConfig
    """What to train, and how."""

    to: Path
    """Folder of the dictionary artifact."""

    inputs: Mapping[str, str]
    """Ids of what the activations were made from; together with `config` they decide whether `to` is still good."""

    columns: Columns = Columns()
    """The part of the stream that it reads and reconstructs."""

    model_name: str = ""
    """Written into the SAELens configuration, like `sites`."""

    sites: Sites | None = None
    """Where the model is read, and what is reconstructed; None where the activations are of no model."""

    notes: Mapping[str, Any] = {}
    """What is known of the source; kept in the manifest beside what training measures itself."""


def train(
    source: ActivationSource,
    config: TrainConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    validation: Batch | None = None,
    notes: Mapping[str, Any] | None = None,
    model_name: str = "",
    sites: Sites | None = None,
    live: LiveRows | None = None,
    terms: Sequence[Term] = (),
    observers: Sequence[Observer] = (),
    ranks: Ranks = ALONE,
) -> TrainableDictionary:
    """Train on `source` and write the folded dictionary to `to`. Killed at any moment and run again, it ends in the
    same bytes.

    Args:
        source: scale-free activations of width `config.dictionary.d_in`, in an order that its state restores exactly;
            for a transcoder with a target of width `d_out`.
        config: what to train, and how.
        to: folder of the dictionary artifact.
        inputs: ids of what the activations were made from; together with `config` they decide whether `to` is still
            good.
        validation: held-out activations; the log then has their L0 and FVU as inference sees them.
        notes: what is known of the source; kept in the manifest beside what training measures itself.
        model_name: written into the SAELens configuration.
        sites: where the activations were read; likewise.
        live: rows and their model, for a finish (`config.finish`).
        terms: further terms of the loss, functions of a `Step`; name what decides them in `inputs`.
        observers: called with every line of the log.
        ranks: the processes that train together, each of which calls this with the same arguments and the same source.

    Raises `UserError` for a width mismatch; for a finish without `live`, or at sites that cannot be edited; for a
    source that ends too early and for NaN or infinite activations (the state before the batch is saved: with the source
    mended, training goes on from there); and when training diverges.
    """
    job = Job(config, Path(to), inputs, model_name=model_name, sites=sites, notes=notes or {})
    (found,) = train_many(
        source, [job], validation=validation, live=live, terms=terms, observers=[observers], ranks=ranks
    )
    if isinstance(found, UserError):
        raise found
    return found


def train_many(
    source: ActivationSource,
    jobs: Sequence[Job],
    *,
    validation: Batch | None = None,
    live: LiveRows | None = None,
    terms: Sequence[Term] = (),
    observers: Sequence[Sequence[Observer]] = (),
    ranks: Ranks = ALONE,
) -> list[TrainableDictionary | UserError]:
    """Train several dictionaries from one reading of `source`: each batch is read once and given to all.

    Each has its own folder, log and checkpoint, and ends in the same bytes as if it had been trained alone on this
    stream (a job shorter than its calibration batches takes its scale from as many as the longest job). One that
    diverges is given back as its error, and the others go on. Raises `UserError` for what concerns all: widths, and a
    source that fails.
    """
    _check_folders(jobs)
    for job in jobs:
        _check_width(source, job)
        _check_finish(source, job, live)
    check_room([job.config for job in jobs if not _is_made(job)], ranks)
    with ExitStack() as stack:
        trainers: dict[int, Trainer] = {}
        for number, job in enumerate(jobs):
            staging = stack.enter_context(_staged(job, ranks))
            if staging.made:
                continue
            trainers[number] = Trainer(
                _drawn(job.config, ranks),
                job.config,
                staging,
                columns=job.columns,
                validation=validation,
                places=live.places if live else (),
                terms=terms,
                observers=observers[number] if observers else (),
            )
        failures = walk(source, live, trainers) if trainers else {}
        for number, trainer in trainers.items():
            if number not in failures:
                _finish(trainer, jobs[number])
        ranks.wait()
    return [failures.get(number) or load_dictionary(job.to) for number, job in enumerate(jobs)]


def _is_made(job: Job) -> bool:
    return finished(job.to, "dictionary", job.config, job.inputs) is not None


def _drawn(config: TrainConfig, ranks: Ranks) -> TrainableDictionary:
    """The dictionary with the weights that the seed gives it; of processes that share its latents, the part of this
    one."""
    check_together(config, ranks)
    generator = torch.Generator().manual_seed(derive(config.seed, "dictionary"))
    return new_dictionary(config.dictionary, generator, ranks)


def _finish(trainer: Trainer, job: Job) -> None:
    n_dead = torch.tensor(len(trainer.silence.dead), device=trainer.config.device)
    dictionary, n_dead = whole_dictionary(trainer.dictionary), trainer.ranks.over_latents(n_dead)
    if dictionary is None:
        return
    dictionary.fold(trainer.x_scales, trainer.target_scales)
    folder = trainer.staging.folder
    files = write_dictionary(dictionary, folder, model_name=job.model_name, sites=job.sites)
    measured: dict[str, Any] = {
        "x_scales": trainer.x_scales,
        "target_scales": trainer.target_scales,
        "n_steps": trainer.n_steps,
        "n_tokens": trainer.n_tokens,
        "n_dead": int(n_dead),
        **trainer.dictionary.noted(),
    }
    if trainer.n_finish_steps:
        measured["finish"] = {"n_steps": trainer.n_finish_steps, "n_tokens": trainer.n_finish_tokens}
    if (held_out := trainer.log.last("validation_fvu")) is not None:
        measured["held_out"] = {
            "l0": held_out["validation_l0"],
            "fvu": held_out["validation_fvu"],
            "n_tokens": trainer.n_validation_tokens,
        }
    trainer.staging.finish(dict(job.notes) | measured, files=dict.fromkeys([*files, LOG]))


@contextmanager
def _staged(job: Job, ranks: Ranks) -> Iterator[Staging]:
    """The stage of a dictionary: the first process opens it, the others read and write nothing but look into its
    folder."""
    if ranks.is_main:
        with stage(job.to, "dictionary", job.config, job.inputs, resumes=True) as staging:
            ranks.wait()
            yield staging
        return
    ranks.wait()
    yield watched(job.to, "dictionary", job.config, job.inputs)


def check_together(config: TrainConfig, ranks: Ranks) -> None:
    """Raise `UserError` if what is configured cannot be trained by these processes together."""
    kind = kind_of(config.dictionary)
    even_part(config.dictionary.d_sae, config.dictionary.n_blocks, ranks, kind, DICTIONARIES.get(kind).latent_dims)


def _check_folders(jobs: Sequence[Job]) -> None:
    if len({Path(job.to).absolute() for job in jobs}) < len(jobs):
        raise UserError(
            "Two dictionaries were to be written to one folder.",
            "a folder for each",
            "leave out what is asked for twice.",
        )


def _check_finish(source: ActivationSource, job: Job, live: LiveRows | None) -> None:
    """Raise `UserError` for a finish without a model, with one that is read at other sites, and at sites that cannot be
    edited."""
    if job.config.finish == "nothing":
        return
    if live is None:
        raise UserError(
            f"finish={job.config.finish!r} trains on what the model predicts, and only activations were given.",
            "rows of text and the model that the activations are of, as `live`",
            "give `LiveRows(reader, batch_size=..., seed=...)`, or leave the finish out.",
        )
    if (live.d_in, live.d_out) != (source.d_in, source.d_out):
        raise UserError(
            f"The finish reads widths {live.d_in} and {live.d_out}, the source {source.d_in} and {source.d_out}.",
            "the same sites of the same model",
            "give a reader of the sites that the activations were read at.",
        )
    try:
        live.check(downstream=job.config.finish == "downstream")
    except UserError as error:  # what the model says of edits says nothing of a finish
        raise UserError(error.given, error.expected, f"{error.todo.rstrip('.')}; or train without a finish.") from None


def _check_width(source: ActivationSource, job: Job) -> None:
    width, wanted = len(range(*job.columns.x.indices(source.d_in))), job.config.dictionary.d_in
    if width != wanted:
        raise UserError(
            f"The activations have width {width}, the dictionary is configured for {wanted}.",
            "equal widths",
            f"set d_in to {width}.",
        )
    wanted_out = job.config.dictionary.target_width
    if wanted_out is None or source.d_out is None:
        return
    width = len(range(*job.columns.target.indices(source.d_out)))
    if width != wanted_out:
        raise UserError(
            f"The target has width {width}, the dictionary is configured for {wanted_out}.",
            "equal widths",
            f"set d_out to {width}.",
        )
