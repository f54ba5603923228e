"""Take the stages of the demo: says what is done and how long it will take."""

import time
from collections.abc import Callable, Sequence

from sparselex.base.artifacts import MANIFEST
from sparselex.base.formats import plain
from sparselex.recipes.demo import FROZEN, TWIN, Plan
from sparselex.recipes.run import Run
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.harvest import read_text
from sparselex.recipes.work.forecast import Speed, duration, forecast, speed_of

_CONTROLS = {TWIN: " (same recipe, weights drawn at random)", FROZEN: " (same model, decoder frozen at random)"}


def take_all(
    plans: Sequence[Plan], *, replace: bool = False, taken: Callable[[str, Stage], None] = lambda run, stage: None
) -> None:
    """Take every stage that is not done; `taken` is called with the name of the run and each stage that is done, then
    or before. Raises `UserError` like the stages."""
    runs = [Run(plan.folder.workspace, plan.folder.name, plan.folder.config) for plan in plans]
    _introduce(runs[0])
    speed = speed_of(runs[0])
    for plan, run in zip(plans, runs, strict=True):
        name = f"{run.name}{_CONTROLS.get(run.name, '')}"
        for stage in plan.stages:
            if stage in plan.done:
                _say(f"{name}: {stage.verb} is done already")
            else:
                _take(run, stage, name, speed, replace)
            taken(run.name, stage)


def _introduce(run: Run) -> None:
    config, model = run.config, run.model
    _say(f"model {config.model.name}: {model.n_layers} layer(s), d_model {model.d_model}, {run.sites}")
    is_read = (run.corpus_folder / MANIFEST).is_file()
    _say(f"text {config.text.source}" + ("" if is_read else ": tokenizing (seconds to a minute)"))
    _say(f"corpus: {read_text(run.corpus.manifest)}")


def _take(run: Run, stage: Stage, name: str, speed: Speed, replace: bool) -> None:
    seconds = forecast(run, stage, speed)
    _say(f"{name}: {stage.verb}" + (f" (about {duration(seconds)})" if seconds else ""))
    started = time.monotonic()
    run.do(stage, replace=replace)
    _say(f"  {stage.line(run, stage.shown(run))}; {time.monotonic() - started:.1f} s")


def _say(text: str) -> None:
    print(plain(text), flush=True)
