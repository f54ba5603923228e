"""Directions of a person's own as a run, beside the run that reads the place they are directions of. PyTorch is loaded
only if there is something to be done."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum, put_back
from sparselex.base.locks import lock
from sparselex.base.registry import found
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.folder import RunFolder

NEURONS = "neurons"
"""What stands for the coordinates of what is read, in place of a file."""

_LONGEST_NAME = 64
"""Characters that the name of a run may have."""

_WORK = "sparselex.recipes.work.directions:make_run"


class DirectionsConfig(Config):
    """Where directions came from, and when they are active."""

    source: str
    """The file, or `neurons`."""

    sha256: str = ""
    """Of the file."""

    active_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of training tokens on which each is active, those where it is largest. Left out, 0.01; of a file with
    biases, which are probes, every token above 0."""


def run_of_directions(
    workspace: Workspace | Path | str,
    source: Path | str = NEURONS,
    *,
    run: str = MAIN,
    name: str = "",
    active_share: float | None = None,
    replace: bool = False,
) -> RunFolder:
    """A run of its own whose dictionary is the directions of a file, each a latent; it reads what `run` reads, and is
    indexed and explained like any other.

    Args:
        source: a file with a direction a row, as wide as what `run` reads (`convert.read_directions`); or `neurons`,
            the coordinates of what it reads.
        run: the run whose model, text and place it takes.
        name: what the new run is called; left out, `neurons` or the name of the file.
        active_share: share of training tokens on which each direction is active; see `DirectionsConfig`.
        replace: make a run of other directions of that name anew.

    Done already, it is not done again. Raises `UserError` for a file that cannot be read, for directions of another
    width, for a run that has read no text, and where there is another run of that name.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    of = RunFolder.open(workspace, run)
    workspace.corpus_of(run)  # the text that it has read
    values = {"source": _settled(source), "sha256": _checksum(source), "active_share": active_share}
    if active_share is not None and not 0 < active_share < 1:
        raise UserError(
            f"--active-share is {active_share:g}.",
            "a share of training tokens, more than 0 and less than 1",
            "choose another, such as 0.01, or leave it out.",
        )
    config = DirectionsConfig.parse(values, "the options of directions")
    name = name or _name(config.source)
    put_back(workspace.run(name))
    if there := _there(of, name, config, replace):
        return there
    with lock(workspace.run(name).with_name(f".{name}.lock"), f"making run {name!r}"):
        # Another process may have made it meanwhile.
        return _there(of, name, config, replace) or found(_WORK)(of, name, config)


def _there(of: RunFolder, name: str, config: DirectionsConfig, replace: bool) -> RunFolder | None:
    """The run of that name where it is of these directions; None where it is to be made. Raises `UserError` where
    something else stands in its place that may not be replaced."""
    folder = of.workspace.run(name)
    if name not in of.workspace.begun():
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(
                f"{folder} exists and is no run.", "a name of its own", "choose another with --as, or move that away."
            )
        return None
    there = RunFolder.open(of.workspace, name)
    made = there.manifest("dictionary") if there.has("dictionary") else None
    kept = made.config.get("directions") if made is not None else None
    same = kept is not None and _means(kept) == _means(config.to_json())
    if same and _reads(of.workspace, name) == _reads(of.workspace, of.name):
        return there
    if kept is None or not replace:
        raise UserError(
            f"There is a run {name!r} already, of something else or made otherwise.",
            "a name of its own, or the directions, --active-share and --run that it was made with",
            "choose another with --as" + (", or add --replace." if kept is not None else "."),
        )
    return None


def _means(config: dict[str, Any]) -> dict[str, Any]:
    """What decides the outcome: where a file lies does not."""
    return config | ({"source": ""} if config["sha256"] else {})


def _reads(workspace: Workspace, run: str) -> list[object]:
    """What a run reads, but for a target."""
    card = workspace.card(run)
    sites = card.sites
    return [card.model, card.second_model, card.twin, card.corpus, sites and (sites.hooks, sites.mask)]


def _settled(source: Path | str) -> str:
    return NEURONS if source == NEURONS else str(Path(source).absolute())


def _checksum(source: Path | str) -> str:
    return checksum(Path(source)) if source != NEURONS and Path(source).is_file() else ""


def _name(source: str) -> str:
    """What a run of these directions is called: by the file, in letters that a folder may have."""
    word = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source).stem).strip("-_")[:_LONGEST_NAME]
    return NEURONS if source == NEURONS else word or "directions"
