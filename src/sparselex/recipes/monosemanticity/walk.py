"""Take the steps of the recipe, one after the other. Killed at any moment and called again, it goes on behind the last
that was finished."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from sparselex.base.artifacts import read_manifest
from sparselex.base.errors import UserError
from sparselex.base.files import write_json
from sparselex.base.staging import stage as staged
from sparselex.base.workspace import Workspace
from sparselex.evaluate.monosemanticity.records import FILE, KIND, Replication, replication_folder
from sparselex.evaluate.report import write_report
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.monosemanticity.config import MonosemanticityConfig
from sparselex.recipes.monosemanticity.plan import ROLES, Step, run_config, steps
from sparselex.recipes.run import Run
from sparselex.recipes.work.forecast import duration

Say = Callable[[str], None]


def monosemanticity(
    workspace: Workspace,
    config: MonosemanticityConfig | None = None,
    *,
    replace: bool = False,
    say: Say = lambda words: None,
) -> Replication:
    """Reproduce "Towards Monosemanticity" (Bricken et al. 2023) and keep what was made, and what could not be, under
    `monosemanticity` of the workspace; what is done is not done again.

    Args:
        workspace: where; its runs a0 to b2 are the paper's A/0 to B/2.
        config: which models, how wide, and on how many tokens.
        replace: whether runs of these names that were made otherwise are made anew.
        say: called with a line before and after each step.

    Raises `UserError` for what cannot be read or trained, and for a run that was made otherwise, unless it is to be
    `replace`d. An analysis that cannot be made is left out with its reason.
    """
    config = config or MonosemanticityConfig()
    left_out = take_steps(workspace, config, steps(config), replace=replace, say=say)
    made = _kept(workspace, config, left_out)
    write_report(workspace)
    return made


def take_steps(
    workspace: Workspace,
    config: MonosemanticityConfig,
    wanted: Sequence[Step],
    *,
    replace: bool = False,
    say: Say = lambda words: None,
) -> dict[str, str]:
    """Take these steps of the recipe; gives those that could not be taken, as `run: verb`, with the reasons. Raises
    like `monosemanticity`."""
    left_out, clock = dict[str, str](), _Clock(wanted)
    for number, step in enumerate(wanted, start=1):
        at = f"[{number}/{len(wanted)}] {step.run}: {step.verb}"
        try:
            _take(workspace, config, step, clock, replace, partial(_say_of, say, at))
        except UserError as error:
            if not step.may_fail:
                raise
            left_out[f"{step.run}: {step.verb}"] = error.given
            say(f"{at}: left out: {error.given}")
            clock.pass_by(step)
    return left_out


def _say_of(say: Say, at: str, words: str) -> None:
    say(at + words)


def _take(
    workspace: Workspace, config: MonosemanticityConfig, step: Step, clock: "_Clock", replace: bool, say: Say
) -> None:
    reads = run_config(config, step.run)
    folder = RunFolder.create(workspace, step.run, reads)
    stage = folder.stage(step.verb, **step.options)
    if folder.is_done(stage):
        say(" is done already")
        clock.pass_by(step)
        return
    say(f"{clock.left} ...")
    with clock.measured(step):
        run = Run.create(workspace, step.run, reads)
        run.do(stage, replace=replace)
        said = stage.line(run, stage.shown(run))
        del run
        gc.collect()  # a model and an index of a run that is not needed any more
    say(f": {said}")


class _Clock:
    """How long what is left will take, by how long what is done has taken."""

    def __init__(self, steps: Sequence[Step]):
        self._left = sum(step.cost for step in steps)
        self._took = self._reckoned = 0.0

    @property
    def left(self) -> str:
        """That in words: by the costs that the plan states, until something was done by which to tell."""
        pace = self._took / self._reckoned if self._reckoned else 1.0
        return f", about {duration(self._left * pace)} left with all that follows"

    def pass_by(self, step: Step) -> None:
        """A step that takes no time."""
        self._left -= step.cost

    @contextlib.contextmanager
    def measured(self, step: Step) -> Iterator[None]:
        """While open, a step is taken. One that took next to nothing was done before, and tells nothing of the pace."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.pass_by(step)
        if seconds >= _DONE * step.cost:
            self._took += seconds
            self._reckoned += step.cost


_DONE = 0.05
"""Share of its cost within which a step was found finished."""


def _kept(workspace: Workspace, config: MonosemanticityConfig, left_out: dict[str, str]) -> Replication:
    """What was made, kept with the ids of all of it."""
    made = Replication(
        roles=ROLES,
        models=(config.model, config.other_model),
        text=config.text,
        l1=config.l1,
        train_tokens=(config.train_tokens[0], config.train_tokens[1], config.train_tokens[2]),
        shortened=config.shortened,
        left_out=left_out,
    )
    inputs = {
        f"{run}/{name}": read_manifest(workspace.run(run) / name).id
        for run in ROLES.every
        for name in sorted(workspace.artifacts(run))
    }
    with staged(replication_folder(workspace.path), KIND, made, inputs) as staging:
        if not staging.made:
            write_json(staging.folder / FILE, made.to_json())
            staging.finish()
    return made
