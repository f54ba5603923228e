"""Progress bars for anything longer than two seconds."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from sparselex.base.pace import Pace

_SILENT: ContextVar[bool] = ContextVar("silent", default=False)

FIRST_LINE_AFTER, SECONDS_BETWEEN_LINES = 10, 30
"""Where no bar can be drawn, a log tells with a line this often that work goes on, the first of them sooner: by then
there is a rate to tell."""


class Bar:
    """A running bar: `advance(n)` moves it, `show(loss=…)` sets the figures at its end. Where units are fetched before
    they are worked on, and that takes its time, `fetched(n)` says how far it is: the time left counts both."""

    def __init__(self, progress: Progress, task_id):
        self._progress, self._task_id, self._pace = progress, task_id, Pace()

    def advance(self, n: float) -> None:
        """Move on by `n` units."""
        self._progress.advance(self._task_id, n)
        self._pace.done(n)
        self._tell()

    def spare(self, n: float) -> None:
        """`n` units that were counted on turn out to need no work."""
        (task,) = [one for one in self._progress.tasks if one.id == self._task_id]
        self._progress.update(self._task_id, total=None if task.total is None else task.total - n)

    def fetched(self, n: float) -> None:
        """`n` units more are at hand, and the bar will move on by them later."""
        self._pace.fetched(n)
        self._tell()

    def _tell(self) -> None:
        if not self._pace.begun:
            return
        task = self._progress.tasks[0]
        left = None if task.remaining is None else self._pace.left(task.remaining)
        self._progress.update(self._task_id, speed=self._pace.speed, left=left)

    def show(self, **figures: float) -> None:
        """Print these figures beside the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._progress.update(self._task_id, figures=text)


class _Lines(Bar):
    """A bar that is not drawn: a plain line on standard error now and then."""

    def __init__(self, progress: Progress, task_id):
        super().__init__(progress, task_id)
        self._said_at = time.monotonic() + FIRST_LINE_AFTER - SECONDS_BETWEEN_LINES

    def _tell(self) -> None:
        super()._tell()
        if time.monotonic() - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = time.monotonic()
            (task,) = self._progress.tasks
            print(_line(task), file=sys.stderr, flush=True)


def _line(task: Task) -> str:
    unit, speed, left = task.fields["unit"], _speed(task), _left(task)
    said = [f"{task.percentage:.0f} %" if task.total else f"{task.completed:,.0f} {unit}"]
    said += [f"{speed:,.0f} {unit}/s" + ("" if task.completed else " read")] if speed else []
    said += [f"{timedelta(seconds=left)} left"] if left is not None else []
    return f"{task.description}: {', '.join(said)}"


def _speed(task: Task) -> float | None:
    return task.fields["speed"] or task.speed


def _left(task: Task) -> float | None:
    left = task.fields["left"]
    return task.time_remaining if left is None else math.ceil(left)


def steps(n: int, at_most: int) -> Iterator[int]:
    """How many of `n` things each step takes, `at_most` of them at a time: what a bar moves on by."""
    return (min(at_most, n - start) for start in range(0, n, at_most))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = _speed(task)
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "")


class _Left(ProgressColumn):
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = _left(task)
        return Text("-:--:--" if left is None else str(timedelta(seconds=left)), style="progress.remaining")


@contextmanager
def silent() -> Iterator[None]:
    """While this is open no bar is shown: of many short works that are parts of a longer one, which has its own."""
    before = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(before)


@contextmanager
def progress(verb: str, total: float | None, unit: str, *, done: int = 0, shown: bool = True) -> Iterator[Bar]:
    """A bar on standard error named `verb`, `total` units long of which `done` are behind; drawn live on a terminal,
    elsewhere a line now and then. Unless it is to be shown there is neither."""
    shown = shown and not _SILENT.get()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        _Left(),
    )
    console, is_drawn = Console(stderr=True), shown and sys.stderr.isatty()
    with Progress(*columns, console=console, disable=not is_drawn) as bars:
        kind = _Lines if shown and not is_drawn else Bar
        task = bars.add_task(verb, total=total, completed=done, unit=unit, figures="", speed=None, left=None)
        yield kind(bars, task)
