"""Take the stages of the demo: says what is done and how long it will take."""

import time
from collections.abc import Sequence

import torch

from sparselex.base.artifacts import MANIFEST
from sparselex.base.formats import plain
from sparselex.dictionaries.sparse.precision import fastest_selection
from sparselex.lm.load import float64_device
from sparselex.recipes.demo import FROZEN, TWIN, Plan
from sparselex.recipes.run import Run
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.explain import Explain
from sparselex.recipes.stages.harvest import read_text
from sparselex.recipes.stages.index import Index
from sparselex.recipes.stages.train import Train

_CONTROLS = {TWIN: " (same recipe, weights drawn at random)", FROZEN: " (same model, decoder frozen at random)"}


def take_all(plans: Sequence[Plan], *, replace: bool = False) -> None:
    """Take every stage that is not done. Raises `UserError` like the stages."""
    runs = [Run(plan.folder.workspace, plan.folder.name, plan.folder.config) for plan in plans]
    _introduce(runs[0])
    speed = _products_per_second()
    for plan, run in zip(plans, runs, strict=True):
        name = f"{run.name}{_CONTROLS.get(run.name, '')}"
        for stage in plan.stages:
            if stage in plan.done:
                _say(f"{name}: {stage.verb} is done already")
            else:
                _take(run, stage, name, speed, replace)


def _introduce(run: Run) -> None:
    config, model = run.config, run.model
    _say(f"model {config.model.name}: {model.n_layers} layer(s), d_model {model.d_model}, {run.sites}")
    is_read = (run.corpus_folder / MANIFEST).is_file()
    _say(f"text {config.text.source}" + ("" if is_read else ": tokenizing (seconds to a minute)"))
    _say(f"corpus: {read_text(run.corpus.manifest)}")


def _take(run: Run, stage: Stage, name: str, speed: float, replace: bool) -> None:
    seconds = _forecast(run, stage, speed)
    _say(f"{name}: {stage.verb}" + (f" (about {_duration(seconds)})" if seconds else ""))
    started = time.monotonic()
    run.do(stage, replace=replace)
    _say(f"  {stage.line(run, stage.shown(run))}; {time.monotonic() - started:.1f} s")


def _forecast(run: Run, stage: Stage, speed: float) -> float | None:
    """Seconds that a stage will take, from the operations of encoding; the shares of it are measured in benchmarks."""
    d_in, n_train = sum(run.model.widths(run.sites.hooks)), run.n_training_tokens
    d_sae = round(d_in * run.config.stages["train"]["expansion"])
    encode_s = 2 * d_in * d_sae / speed
    match stage:
        case Train():
            fast = fastest_selection(float64_device(run.config.model.device)) == "bfloat16"
            return (1.3 if fast else 2.6) * encode_s * n_train
        case Index(train_rows=rows):
            n_held_out = run.corpus.n_rows * run.corpus.n_ctx - n_train
            n_read = n_train if rows is None else min(n_train, rows * run.corpus.n_ctx)
            return 1.5 * encode_s * (n_held_out + n_read)
        case Explain():
            return 0.012 * d_sae
    return None


def _duration(seconds: float) -> str:
    if seconds < 5:
        return "a few seconds"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _say(text: str) -> None:
    print(plain(text), flush=True)


def _products_per_second() -> float:
    """Operations a second of a matrix product on this machine, for the forecasts only."""
    x, W, out = torch.ones(2048, 512), torch.ones(512, 4096), torch.empty(2048, 4096)
    times = []
    for _ in range(6):  # the first ones wake the threads
        started = time.perf_counter()
        torch.mm(x, W, out=out)
        times.append(time.perf_counter() - started)
    return 2 * x.numel() * W.shape[1] / sorted(times)[2]
