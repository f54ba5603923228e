"""The walk of training through its streams: activations first, then for a finish rows of the live model; every batch is
read once and given to all trainers."""

from collections.abc import Mapping, Sequence

from sparselex.activations.ahead import LookAhead
from sparselex.activations.source import ActivationSource, Batch, EndOfData, check_finite, heard
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import Bar, progress
from sparselex.training.calibrate import sample
from sparselex.training.rows import LiveBatch, LiveRows, n_tokens_of
from sparselex.training.trainer import Trainer


def walk(source: ActivationSource, live: LiveRows | None, trainers: Mapping[int, Trainer]) -> dict[int, UserError]:
    """Give every batch to all trainers until each has had its tokens, those of the finish from `live`; returns those
    that failed."""
    keep_freed_memory()
    failures = dict[int, UserError]()
    shown = next(iter(trainers.values())).ranks.is_main
    most = max(trainer.config.n_tokens for trainer in trainers.values())
    behind = min(trainer.n_tokens for trainer in trainers.values())
    with progress("train", most, "tokens", done=behind, shown=shown) as bar, heard(source, bar.fetched):
        if before := {n: trainer for n, trainer in trainers.items() if trainer.is_before_finish}:
            looking = LookAhead(source)
            n_steps = _go_to_start(looking, before, failures)
            _through(looking, before, n_steps, failures, bar)
        if live and (last := {n: one for n, one in trainers.items() if n not in failures and not one.is_done}):
            _through(live, last, _go_to_finish(live, list(last.values())), failures, bar)
    return failures


def _through(
    source: LookAhead | LiveRows,
    trainers: Mapping[int, Trainer],
    n_steps: int,
    failures: dict[int, UserError],
    bar: Bar,
) -> None:
    """Give every batch of a source that has given `n_steps` to all trainers, until each has had what it takes of
    it."""
    is_finish = isinstance(source, LiveRows)

    def waits(number: int, trainer: Trainer) -> bool:
        return number not in failures and not (trainer.is_done if is_finish else not trainer.is_before_finish)

    while waiting := {number: trainer for number, trainer in trainers.items() if waits(number, trainer)}:
        batch = _next(source, list(waiting.values()), n_steps)
        for number, trainer in waiting.items():
            if _steps_of(trainer, source) > n_steps:  # its checkpoint is ahead of the others'
                continue
            if error := _step(trainer, batch, source):
                failures[number] = error
            else:
                bar.show(**trainer.shown)
        n_steps += 1
        bar.advance(n_tokens_of(batch))


def _steps_of(trainer: Trainer, source: LookAhead | LiveRows) -> int:
    """Steps that a trainer has taken of a source."""
    return trainer.n_finish_steps if isinstance(source, LiveRows) else trainer.n_steps


def _step(trainer: Trainer, batch: Batch | LiveBatch, source: LookAhead | LiveRows) -> UserError | None:
    """Let one trainer learn from a batch, and save it where that is due; returns why it diverged, if it did."""
    try:
        trainer.step(batch, None if isinstance(source, LiveRows) else source.ahead)
    except UserError as error:
        return error
    if trainer.is_due_for_saving:
        trainer.save(source.state())
    return None


def _go_to_start(source: LookAhead, trainers: Mapping[int, Trainer], failures: dict[int, UserError]) -> int:
    """Prepare new trainers, of which one may fail at what it is to take from the first batches; move the source to
    where the one furthest behind stands, and return its number of steps."""
    fresh = {number: trainer for number, trainer in trainers.items() if trainer.source_state is None}
    if fresh:
        most = max(trainer.config.calibration_batches for trainer in fresh.values())
        first = sample(source, most, max(trainer.config.n_tokens for trainer in fresh.values()))
        for number, trainer in fresh.items():
            try:
                trainer.prepare(first)
            except UserError as error:
                failures[number] = error
        return 0
    behind = min(trainers.values(), key=lambda trainer: trainer.n_steps)
    assert behind.source_state is not None
    source.load_state(behind.source_state)
    return behind.n_steps


def _go_to_finish(live: LiveRows, trainers: Sequence[Trainer]) -> int:
    """Move to where the trainer stands that has seen the least of the finish, and return its number of steps there."""
    behind = min(trainers, key=lambda trainer: trainer.n_finish_steps)
    # Before its first step there, what a checkpoint holds is a place in the other source.
    live.load_state(behind.source_state if behind.n_finish_steps and behind.source_state else live.start)
    return behind.n_finish_steps


def _next(source: LookAhead | LiveRows, trainers: Sequence[Trainer], n_steps: int) -> Batch | LiveBatch:
    """The next batch. Where there is none to train on, the state before it is saved first."""
    before = source.state()
    try:
        batch = source.next_batch()
        check_finite(batch if isinstance(batch, Batch) else batch.batch, f"Batch {n_steps + 1}")
        return batch
    except (EndOfData, UserError) as error:
        for trainer in trainers:
            if _steps_of(trainer, source) == n_steps:
                trainer.save(before)
        if isinstance(error, UserError):
            raise
        most = max(trainers, key=lambda trainer: trainer.config.n_tokens)
        raise UserError(
            f"The activations ended after {most.n_tokens:,} tokens, and training was to take {most.config.n_tokens:,}.",
            "a source with at least that many tokens",
            "lower n_tokens, or let the source run for more epochs.",
        ) from None
