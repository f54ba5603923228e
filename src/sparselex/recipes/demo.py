"""The demo: one run and its controls through every stage. What is still to be done is told without loading
PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from sparselex.base.bounds import Count, Expansion, Passes, Seed
from sparselex.base.errors import UserError
from sparselex.base.workspace import MAIN, Workspace
from sparselex.dictionaries.kinds import Finish
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.config import Beginning, Reads, RunConfig, frozen_of, twin_of
from sparselex.recipes.folder import RunFolder, differences
from sparselex.recipes.option import Option, flag_of

TWIN = "twin"
"""Name of the run that is the demo's control: the same recipe on random weights."""

FROZEN = "frozen"
"""Name of the run that learns less: the same recipe on the same model, its decoder kept as it was drawn."""

VERBS = ("train", "index", "explain", "evaluate")
"""The stages that every run of the demo goes through."""

_WHERE = ("device", "engine", "trust_remote_code", "twin_of")
"""What may change between two demos: it decides nothing about what is made."""

_LATENTS = 32
"""Latents active per token of the types that have such a number, where none is given to `train`."""

_K = {"embedded": 30, "smollm2": _LATENTS}
"""The same by recipe."""

_PASSES = {"embedded": 0.7, "smollm2": 1.0}
"""Passes over the training documents by recipe: what the demo's time allows, and what it costs in the lab log."""


class Recipe(NamedTuple):
    """What a demo on another model takes in place of its own defaults."""

    options: Mapping[str, Any]
    """Options of the demo."""

    stages: Mapping[str, Mapping[str, Any]]
    """Options of stages that the demo has no option for, by verb."""


RECIPES: dict[str, Recipe] = {
    "embedded": Recipe({}, {"index": {"train_rows": 6_000}}),
    "smollm2": Recipe(
        {
            "model": "smollm2",
            "hook": "blocks.15.hook_resid_post",
            "n_tokens": 1_000_000,
            "finish": "nothing",  # by what it gains and what it costs there, docs/lab-log.md
            "shares": (0.7, 0.05, 0.25),  # modules are long: fewer test documents would give no interval
        },
        {
            "index": {"train_rows": 800},
            "evaluate": {"n_rows": 200, "moment_rows": 1024, "explained_rows": 400},
        },
    ),
}
"""Recipes by their names. A model a hundred times as large reads a fifth of the text, and less of it in the stages that
read it again: it is through, its twin too, in about fifty minutes on two cores (docs/smollm2.md)."""


class Demo(Reads):
    """Make a graded dictionary from start to end: corpus, training, index, explanations, evaluation, and the same on a
    random-weight twin. Killed at any moment, the same command goes on; run again, it does nothing twice, and what is
    left out then is as the workspace has it."""

    recipe: Literal["embedded", "smollm2"] = "embedded"
    """Whose defaults hold for what is left out: `smollm2` is a dictionary of a real pretrained model."""

    expansion: Expansion = 8.0
    """Latents per activation dimension."""

    k: Count | None = None
    """Latents active per token. Left out, 30: on held-out documents that is an L0 below 32 (with the recipe `smollm2`
    32)."""

    passes: Passes | None = None
    """Passes over the training documents, or the part of one. Left out, 0.7 (with the recipe `smollm2` 1)."""

    seed: Seed = 0
    """Seed of the dictionary."""

    finish: Finish = "kl"
    """What the last tenth of training is on: `kl`, half on what the model's predictions lose by the reconstruction;
    `nothing`, as before it; `e2e` and `downstream` as of `train`."""

    twin: bool = True
    """Also run the random-weight control."""

    frozen: bool = False
    """Also run the control that learns less: the same model, a decoder that stays frozen at random. As long again."""

    cached: bool = False
    """Keep activation shards on disk instead of going live."""

    replace: Annotated[bool, Option(in_passing=True)] = False
    """Replace what an earlier demo with other options has made."""

    serve: Annotated[bool, Option(in_passing=True)] = True
    """Open the browser's server at the end."""

    port: Annotated[int, Field(ge=0, le=65535), Option(in_passing=True)] = 8321
    """Port of the browser; 0 takes a free one."""

    @model_validator(mode="before")
    @classmethod
    def _as_in_the_recipe(cls, values: dict[str, Any]) -> dict[str, Any]:
        recipe = RECIPES.get(str(values.get("recipe")))
        if values.get("engine", "transformers") != "transformers":  # another library gives no gradients
            values = {"finish": "nothing"} | values
        return values if recipe is None else dict(recipe.options) | values

    def run_config(self, kept: RunConfig | None = None) -> RunConfig:
        """What the demo's run reads and trains: in what was given as the demo says, in all else as an earlier one
        `kept` it. Raises `UserError` where a value is impossible."""
        k = self.k or _K[self.recipe]
        passes = self.passes or _PASSES[self.recipe]
        training = {"expansion": self.expansion, "k": k, "passes": passes, "finish": self.finish, "seed": self.seed}
        if kept is None:
            stages = {verb: dict(options) for verb, options in RECIPES[self.recipe].stages.items()}
            return super().run_config().with_stages(stages | {"train": training})
        given = {name: getattr(self, name) for name in self.model_fields_set}
        told = {name: value for name, value in given.items() if name in training}
        reads = kept.with_reads({name: value for name, value in given.items() if name in Reads.model_fields})
        # An option that the version which kept the stage had not is as if it were left out there.
        before = TrainingChoice().to_json() | kept.stages["train"] if "train" in kept.stages else training
        return reads.with_stage("train", before | told)


class Plan:
    """The stages of one run of the demo, and which of them are still to be done."""

    def __init__(self, workspace: Workspace, name: str, config: RunConfig, *, cached: bool):
        self.folder = RunFolder.create(workspace, name, config)
        cached = cached or "harvest" in self.folder.config.stages
        self.stages = [self.folder.stage(verb) for verb in (*(["harvest"] if cached else []), *VERBS)]
        self.done = [stage for stage in self.stages if self.folder.is_done(stage)]
        for stage in self.done:  # as the run keeps it: what was taken, not what was asked for
            self.folder.config = self.folder.config.with_stage(stage.verb, stage.kept())

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.done) == len(self.stages)


def plans(workspace: Workspace, demo: Demo) -> list[Plan]:
    """What a demo goes through: `main` and its controls, of which the `twin` is left out only if told so.

    Raises `UserError` where one of them was made otherwise than the demo is told, before anything is read.
    """
    begun = workspace.begun()
    kept = {name: RunFolder.open(workspace, name).config for name in (MAIN, TWIN, FROZEN) if name in begun}
    main = demo.run_config(kept.get(MAIN))
    runs = {MAIN: main}
    if demo.twin:
        runs[TWIN] = _control(twin_of(main), kept.get(TWIN))
    if demo.frozen:
        runs[FROZEN] = _control(frozen_of(main), kept.get(FROZEN))
    if not demo.replace:
        for name in filter(kept.__contains__, runs):
            _check_as_made(workspace, name, runs[name], demo)
    return [Plan(workspace, name, run, cached=demo.cached) for name, run in runs.items()]


def _control(control: RunConfig, kept: RunConfig | None) -> RunConfig:
    """A control of a run: it reads and is trained as the run is now. In the other stages it goes on as an earlier
    demo `kept` them, and begins as the run has them."""
    begins = {verb: control.stages[verb] for verb in ("harvest", *VERBS) if verb in control.stages}
    if kept is not None:
        begins = {verb: begins[verb] for verb in VERBS if verb in begins} | kept.stages | {"train": begins["train"]}
    return control.with_stages(begins)


def _check_as_made(workspace: Workspace, name: str, config: RunConfig, demo: Demo) -> None:
    kept, made = RunFolder.open(workspace, name).config, workspace.artifacts(name)
    was, now = (_reads(one) for one in (kept, RunFolder.create(workspace, name, config).config))
    if "dictionary" in made:
        was |= _training(kept) | {"--cached": "harvest" in kept.stages}
        now |= _training(config) | {"--cached": demo.cached or "harvest" in kept.stages}
    if made and (found := differences(was, now)):
        raise UserError(
            f"Run {name!r} of {workspace.path} was made with {found[0]}, and not with {found[1]}.",
            "what it was made with; options that are left out are as they were",
            "give the same options or none, choose another WORKSPACE, or add --replace: it is then made anew.",
        )


def _reads(config: RunConfig) -> dict[str, Any]:
    """What a run reads, by option."""
    return {
        flag_of(name, field): config.reads[name] for name, field in Beginning.model_fields.items() if name not in _WHERE
    }


def _training(config: RunConfig) -> dict[str, Any]:
    """How a run is trained, by option; of those of `train` that the demo has not, with the verb before them."""
    kept: Mapping[str, Any] = config.stages.get("train", {})
    choice = {name: kept[name] for name in TrainingChoice.model_fields if name in kept}
    values = TrainingChoice.parse(choice | {"k": choice.get("k") or _LATENTS}, "the options of train").to_json()
    before = {name: "" if name in ("expansion", "k", "passes", "finish", "seed") else "train " for name in values}
    return {before[name] + flag_of(name, TrainingChoice.model_fields[name]): value for name, value in values.items()}
