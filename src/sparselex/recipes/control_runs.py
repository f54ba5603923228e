"""Controls of a run as runs of their own: which there are, what they are called, and which is there already. Nothing
here loads PyTorch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.known import KnownIn
from sparselex.base.registry import Registry
from sparselex.base.workspace import Workspace
from sparselex.evaluate.config import control_words
from sparselex.evaluate.twins import CONTROL
from sparselex.recipes.config import RunConfig, frozen_of, twin_of
from sparselex.recipes.folder import RunFolder


class ControlKind(NamedTuple):
    """One kind of control."""

    words: str
    """What it is, as it stands in lists."""

    recipe: Callable[[RunConfig, str], RunConfig] | None = None
    """The configuration of the control that is trained like the run, from that of the run and its name; None for
    directions that stand in the place of the dictionary."""


DIRECTIONS = ("neurons", "random", "covariance", "pca", "kmeans", "ica")
"""Kinds of which nothing is trained: their makers are the control dictionaries of these names."""

CONTROL_RUNS: Registry[ControlKind] = Registry(
    "control_run",
    {
        **{name: ControlKind(control_words(name)) for name in DIRECTIONS},
        "frozen": ControlKind("the run's recipe with a decoder that stays as it was drawn", frozen_of),
        "soft_frozen": ControlKind(
            "the run's recipe with a decoder that stays near where it was drawn",
            partial(frozen_of, frozen="soft_decoder"),
        ),
        "frozen_encoder": ControlKind(
            "the run's recipe with an encoder whose directions stay as they were drawn",
            partial(frozen_of, frozen="encoder"),
        ),
        "twin": ControlKind("the run's recipe on the model with random weights", twin_of),
        "permuted": ControlKind(
            "the run's recipe on the model with each tensor's entries shuffled", partial(twin_of, twin="permuted")
        ),
        "gaussian": ControlKind(
            "the run's recipe on the model with each tensor drawn from a normal distribution like it",
            partial(twin_of, twin="gaussian"),
        ),
        "gaussian_kept": ControlKind(
            "the same, with the embedding of tokens as it was learned", partial(twin_of, twin="gaussian_kept")
        ),
        "redrawn": ControlKind(
            "the run's recipe on the model with what stands for a token drawn anew wherever it stands",
            partial(twin_of, twin="redrawn"),
        ),
    },
)
"""Kinds of controls by name, in the order in which they are made. Other packages add theirs through entry points of the
group `sparselex.control_run`; of one that is trained a row here is all there is to it."""

KindOfControl = Annotated[str, KnownIn(CONTROL_RUNS)]
"""Name of a kind of control."""


class ControlConfig(Config):
    """What a control of directions is."""

    kind: str
    """Which directions."""

    of: str
    """The run that it is a control of."""

    k: Count
    """Latents active on each token: the mean of the run's, rounded."""

    d_sae: Count
    """Latents of the run: as many directions are drawn of the kinds that can have any number."""

    seed: Seed = 0
    """Seed of what is drawn."""


def name_of(run: str, kind: str) -> str:
    """What the control of that kind of a run is called."""
    return f"{run}-{kind}"


def standing(of: RunFolder, name: str, wanted: ControlConfig, *, replace: bool) -> bool:
    """Whether the run `name` is the control that is wanted. Raises `UserError` where something else stands in its
    place, unless that is another control of this run which may be replaced."""
    workspace, folder = of.workspace, of.workspace.run(name)
    if name not in workspace.begun():
        if folder.exists() and not _is_empty(folder):
            raise UserError(f"{folder} exists and is no run.", "no such folder", "move it away.")
        return False
    there = RunFolder.open(workspace, name)
    kept = there.manifest("dictionary").config.get(CONTROL) if there.has("dictionary") else None
    if kept == wanted.to_json():
        return True
    if kept is None or kept.get("of") != of.name:
        raise UserError(
            f"There is a run {name!r} already, and it is no control of run {of.name!r}.",
            f"no run of that name, which the control {wanted.kind!r} of {of.name!r} is to have",
            "leave that kind out of --kinds, or move the run to another name: its folder with run.json in it.",
        )
    if not replace:
        raise UserError(
            f"Run {name!r} is a control of run {of.name!r} as it was: {_differing(kept, wanted)}.",
            "a control of the run as it is now",
            "add --replace: it is then made anew.",
        )
    return False


def control_named(of: RunFolder, kind: str) -> str:
    """The name of the run that is this control, whether it is there or not: of one that is trained the name of the one
    that the workspace has, such as the demo's twin."""
    own, recipe = name_of(of.name, kind), CONTROL_RUNS.get(kind).recipe
    if recipe is None or "train" not in of.config.stages:
        return own
    wanted = recipe(of.config, of.name)
    found = [name for name in of.workspace.begun() if name != of.name and control_is(of.workspace, name, wanted)]
    return own if own in found or not found else found[0]


def control_is(workspace: Workspace, name: str, wanted: RunConfig) -> bool:
    """Whether a run reads and is trained as is wanted, by whatever seed of random weights."""
    if workspace.card(name).twin_of != wanted.twin_of:
        return False
    kept = RunFolder.open(workspace, name).config
    same = kept.with_twin(wanted.model.twin, 0) == kept.with_twin(kept.model.twin, 0)
    return same and kept.stages.get("train") == wanted.stages["train"]


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _differing(kept: dict[str, Any], wanted: ControlConfig) -> str:
    now = wanted.to_json()
    other = [name for name in now if kept.get(name) != now[name]]
    return ", ".join(f"{name} was {kept.get(name)!r} and is {now[name]!r}" for name in other)
