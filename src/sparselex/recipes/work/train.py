"""Train a run's dictionary."""

from collections.abc import Sequence

import numpy as np

from sparselex.activations.divided import DividedUnits
from sparselex.activations.live import spread
from sparselex.activations.prefetch import reading_ahead
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.dictionaries.ranks import Ranks
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.lm.load import check_device, float64_device
from sparselex.recipes.run import BLOCK_TOKENS, Run
from sparselex.recipes.stages.train import Train
from sparselex.recipes.work.choices import choice_of, train_config
from sparselex.training.config import TrainConfig
from sparselex.training.log import Observer
from sparselex.training.loggers import logs
from sparselex.training.room import check_room
from sparselex.training.rows import LiveRows
from sparselex.training.train import check_together, train

VALIDATION_ROWS = 32
"""Rows of held-out text that training is watched on."""


def train_run(run: Run, stage: Train, *, observers: Sequence[Observer] = (), ranks: Ranks | None = None) -> None:
    """Train on the run's shards where there are any, else live; under torchrun by all processes together.

    `observers` are called with every line of the log; `ranks` are the processes that train together, by default those
    that torchrun started. Raises `UserError` like `training.train`, and for a configuration of other sites than the
    run's.
    """
    if ranks is None:
        with Ranks.connected(stage.divide_latents, float64_device(run.config.model.device)) as ranks:
            return train_run(run, stage, observers=observers, ranks=ranks)
    config = configured(run, stage)
    check_device(config.device)
    if float64_device(config.device) != config.device:
        raise UserError(
            f"The device {config.device!r} has no float64, in which dictionaries keep scales and thresholds.",
            "a dictionary on the CPU, beside a model on any device",
            "set the configuration's device to cpu.",
        )
    _check_processes(stage, config, ranks)
    if not run.has(Train.makes):  # one that is there may be this one, and nothing left to do
        check_room([config], ranks)
    name, places = f"{run.workspace.path.name}/{run.name}", stage.log_to if ranks.is_main else ()
    with logs(places, run.folder / "logs", name, config.to_json()) as sent:
        if ranks.is_main:  # shards are harvested by one and read by all, and so is the text
            run.units()
            run.keep(Train(**choice_of(config).to_json()) if stage.config else stage)
        ranks.wait()
        _train(run, stage, config, [*observers, *sent], ranks)


def dictionary_of(run: Run) -> TrainableDictionary:
    """The run's dictionary."""
    return run.dictionary


def configured(run: Run, stage: Train) -> TrainConfig:
    """The whole training configuration of a stage. Raises `UserError` for one that cannot be made at the run's
    sites."""
    if stage.config is None:
        return train_config(run, stage.choice)
    config = TrainConfig.parse(stage.config, "the training configuration")
    _check_target(run, config)
    here = train_config(run, choice_of(config)).dictionary.to_json()
    given = config.dictionary.to_json()
    if other := [name for name, value in given.items() if value != here[name]]:
        raise UserError(
            f"The training configuration has {', '.join(f'{name}={given[name]}' for name in other)}.",
            f"what the sites of the run give: {', '.join(f'{name}={here[name]}' for name in other)}",
            "correct the configuration, or begin a run at the sites that it is for.",
        )
    return config


def _train(run: Run, stage: Train, config: TrainConfig, observers: Sequence[Observer], ranks: Ranks) -> None:
    units, has_finish = run.units(), config.finish != "nothing"
    if not (ranks.is_alone or run.is_cached):
        units = DividedUnits(units)
    with reading_ahead(units, stage.prefetch) as feed:
        source = ShuffledSource(feed, batch_size=config.batch_size, block_tokens=BLOCK_TOKENS, seed=config.seed)
        # From shards too the model runs: what it predicts is on no disk.
        live = LiveRows(run.reader, batch_size=config.batch_size, seed=config.seed, ranks=ranks) if has_finish else None
        train(
            source,
            config,
            run.folder / Train.makes,
            inputs=run.inputs(),
            validation=_held_out(run),
            notes=run.notes_on(source),
            model_name=run.config.model.name,
            sites=run.sites,
            live=live,
            observers=observers,
            ranks=ranks,
        )


def _held_out(run: Run) -> Batch | None:
    rows = spread(run.corpus.row_ranges["validation"], VALIDATION_ROWS)
    return run.reader.read(np.asarray(rows)) if len(rows) else None


def _check_target(run: Run, config: TrainConfig) -> None:
    is_transcoder = config.dictionary.to_json().get("d_out") is not None
    if is_transcoder == bool(run.sites.target):
        return
    has, given = ("has a target", "an autoencoder") if run.sites.target else ("has no target", "a transcoder")
    raise UserError(
        f"The run {has}, and the training configuration is of {given}.",
        "d_out with a target, and without one none",
        "set d_out in the configuration, or harvest with or without --target.",
    )


def _check_processes(stage: Train, config: TrainConfig, ranks: Ranks) -> None:
    """Raise `UserError` for what several processes cannot do, before anything is read or written."""
    check_together(config, ranks)
    if not ranks.is_alone and stage.prefetch:
        raise UserError(
            "Reading ahead was asked for with several processes.", "one or the other", "leave --prefetch out."
        )
