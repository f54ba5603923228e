"""How long a stage of a run will take on this machine, told from what the model and a product take: for forecasts
only."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from sparselex.dictionaries.sparse.precision import fastest_selection
from sparselex.lm.load import float64_device
from sparselex.recipes.run import Run
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.evaluate import Evaluate
from sparselex.recipes.stages.explain import Explain
from sparselex.recipes.stages.index import Index
from sparselex.recipes.stages.train import Train


class Speed(NamedTuple):
    """How fast this machine is at what the demo does."""

    products: float
    """Operations a second of a matrix product."""

    read: float
    """Tokens a second that the model gives activations of."""

    whole: float
    """Tokens a second that it predicts what follows."""


def speed_of(run: Run) -> Speed:
    """What this machine does a second, measured on a few of the run's rows."""
    return Speed(_products_per_second(), *_tokens_per_second(run))


def forecast(run: Run, stage: Stage, speed: Speed) -> float | None:
    """Seconds that a stage will take, from what the model itself takes and the operations of encoding; the shares of
    the latter are measured in benchmarks."""
    d_in, n_train = sum(map(run.model.width, run.sites.hooks)), run.n_training_tokens
    d_sae = round(d_in * run.config.stages["train"]["expansion"])
    encode_s = 2 * d_in * d_sae / speed.products
    n_ctx, read_s = run.corpus.n_ctx, 1 / speed.read
    match stage:
        case Train(choice=choice):
            fast = fastest_selection(float64_device(run.config.model.device)) == "bfloat16"
            n_tokens = choice.tokens_of(n_train)
            seconds = ((1.3 if fast else 2.6) * encode_s + (0 if run.is_cached else read_s)) * n_tokens
            n_finish = 0 if choice.finish == "nothing" else choice.finish_share * n_tokens
            return seconds + _PASSES_OF_FINISH * n_finish / speed.whole
        case Index(train_rows=rows):
            n_read = n_train if rows is None else min(n_train, rows * n_ctx)
            return (1.5 * encode_s + read_s) * (run.corpus.n_rows * n_ctx - n_train + n_read)
        case Explain():
            return 0.012 * d_sae
        case Evaluate(n_rows=n_rows, moment_rows=moment_rows, controls=controls):
            n_judged = min(n_rows, len(run.corpus.row_ranges["test"])) * n_ctx
            n_passes = len(controls) + _PASSES_OF_EVALUATE
            return min(moment_rows * n_ctx, n_train) * read_s + n_judged * n_passes / speed.whole
    return None


_PASSES_OF_FINISH = 3
"""Of every row: the model as it is, with the reconstruction, and back."""

_PASSES_OF_EVALUATE = 8
"""Of every row: the model as it is, with the site at its mean, at zero, reconstructed, explained, looked up in two
ways, and read."""


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 5:
        return "a few seconds"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _products_per_second() -> float:
    """Operations a second of a matrix product on this machine, for the forecasts only."""
    x, W, out = torch.ones(2048, 512), torch.ones(512, 4096), torch.empty(2048, 4096)
    times = []
    for _ in range(6):  # the first ones wake the threads
        started = time.perf_counter()
        torch.mm(x, W, out=out)
        times.append(time.perf_counter() - started)
    return 2 * x.numel() * W.shape[1] / sorted(times)[2]


def _tokens_per_second(run: Run) -> tuple[float, float]:
    """How fast the model reads up to the hooks, and to its end: measured on a few of its first rows, a second time
    where the first one was short."""
    found = []
    rows = run.corpus.row_ranges["train"]
    tokens = run.reader.tokens(np.arange(rows.start, min(rows.start + _ROWS_TIMED, rows.stop)))
    first = run.reader.places[0].model
    for once in (lambda: run.model.read(tokens, run.sites.hooks), lambda: first.last(tokens)):
        took = _seconds(once)
        if took < 1:  # the first one wakes the threads
            took = _seconds(once)
        found.append(tokens.numel() / took)
    return found[0], found[1]


_ROWS_TIMED = 8


def _seconds(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
