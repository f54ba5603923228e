"""Progress bars for anything longer than two seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
    """A bar on standard error named `verb`, `total` units long; drawn live on a terminal, else not at all."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (shown and sys.stderr.isatty())) as bars:
        yield Bar(bars, bars.add_task(verb, total=total, unit=unit, figures=""))
