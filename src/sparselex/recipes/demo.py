"""The demo: one run and its random-weight twin through every stage. What is still to be done is told without loading
PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Expansion, Seed
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.config import Reads, RunConfig, twin_of
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.option import Option

TWIN = "twin"
"""Name of the run that is the demo's control."""


class Demo(Reads):
    """Make a graded dictionary from start to end: corpus, training, index, explanations, evaluation, and the same on a
    random-weight twin. Killed at any moment, the same command goes on; run again, it does nothing twice."""

    expansion: Expansion = 8.0
    """Latents per activation dimension."""

    k: Count | None = None
    """Latents active per token. Left out, 32."""

    seed: Seed = 0
    """Seed of the dictionary."""

    twin: bool = True
    """Also run the random-weight control."""

    cached: bool = False
    """Keep activation shards on disk instead of going live."""

    replace: Annotated[bool, Option(in_passing=True)] = False
    """Replace what an earlier demo with other options has made."""

    serve: Annotated[bool, Option(in_passing=True)] = True
    """Open the browser's server at the end."""

    port: Annotated[int, Field(ge=0, le=65535), Option(in_passing=True)] = 8321
    """Port of the browser; 0 takes a free one."""

    def run_config(self) -> RunConfig:
        training = {"expansion": self.expansion, "k": self.k, "seed": self.seed}
        return super().run_config().with_stage("train", training)


class Plan:
    """The stages of one run of the demo, and which of them are still to be done."""

    def __init__(self, workspace: Workspace, name: str, config: RunConfig, *, cached: bool):
        self.folder = RunFolder.create(workspace, name, config)
        verbs = (["harvest"] if cached else []) + ["train", "index", "explain", "evaluate"]
        self.stages = [self.folder.stage(verb) for verb in verbs]
        self.done = [stage for stage in self.stages if self.folder.is_done(stage)]
        for stage in self.done:  # as the run keeps it: what was taken, not what was asked for
            self.folder.config = self.folder.config.with_stage(stage.verb, stage.kept())

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.done) == len(self.stages)


def plans(workspace: Workspace, demo: Demo) -> list[Plan]:
    """What a demo goes through: `main` and, unless told otherwise, its `twin`."""
    config = demo.run_config()
    runs = {MAIN: config} | ({TWIN: twin_of(config)} if demo.twin else {})
    return [Plan(workspace, name, run, cached=demo.cached) for name, run in runs.items()]
