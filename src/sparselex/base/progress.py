"""Progress bars for anything longer than two seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    TimeRemainingColumn,
)
from rich.text import Text

FIRST_LINE_AFTER, SECONDS_BETWEEN_LINES = 10, 30
"""Where no bar can be drawn, a log tells with a line this often that work goes on, the first of them sooner: by then
there is a rate to tell."""


class Bar:
    """A running bar: `advance(n)` moves it, `show(loss=…)` sets the figures at its end."""

    def __init__(self, progress: Progress, task_id):
        self._progress, self._task_id = progress, task_id

    def advance(self, n: float) -> None:
        """Move on by `n` units."""
        self._progress.advance(self._task_id, n)

    def show(self, **figures: float) -> None:
        """Print these figures beside the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._progress.update(self._task_id, figures=text)


class _Lines(Bar):
    """A bar that is not drawn: a plain line on standard error now and then."""

    def __init__(self, progress: Progress, task_id):
        super().__init__(progress, task_id)
        self._said_at = time.monotonic() + FIRST_LINE_AFTER - SECONDS_BETWEEN_LINES

    def advance(self, n: float) -> None:
        super().advance(n)
        if time.monotonic() - self._said_at >= SECONDS_BETWEEN_LINES:
            self._said_at = time.monotonic()
            (task,) = self._progress.tasks
            print(_line(task), file=sys.stderr, flush=True)


def _line(task: Task) -> str:
    unit, left = task.fields["unit"], task.time_remaining
    said = [f"{task.percentage:.0f} %" if task.total else f"{task.completed:,.0f} {unit}"]
    said += [f"{task.speed:,.0f} {unit}/s"] if task.speed else []
    said += [f"{timedelta(seconds=left)} left"] if left is not None else []
    return f"{task.description}: {', '.join(said)}"


def steps(n: int, at_most: int) -> Iterator[int]:
    """How many of `n` things each step takes, `at_most` of them at a time: what a bar moves on by."""
    return (min(at_most, n - start) for start in range(0, n, at_most))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} {task.fields['unit']}/s")


@contextmanager
def progress(verb: str, total: float | None, unit: str, *, shown: bool = True) -> Iterator[Bar]:
    """A bar on standard error named `verb`, `total` units long; drawn live on a terminal, elsewhere a line now and
    then. Unless it is to be shown there is neither."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console, is_drawn = Console(stderr=True), shown and sys.stderr.isatty()
    with Progress(*columns, console=console, disable=not is_drawn) as bars:
        kind = _Lines if shown and not is_drawn else Bar
        yield kind(bars, bars.add_task(verb, total=total, unit=unit, figures=""))
