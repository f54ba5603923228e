"""Directions of a person's own as a run, beside the run that reads the place they are directions of. PyTorch is loaded
only if there is something to be done."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum
from sparselex.base.registry import found
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.folder import RunFolder

NEURONS = "neurons"
"""What stands for the coordinates of what is read, in place of a file."""

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
    config = DirectionsConfig.parse(values, "the options of directions", names={"active_share": "--active-share"})
    name = name or _name(config.source)
    if name in workspace.begun():
        there = RunFolder.open(workspace, name)
        made = there.manifest("dictionary") if there.has("dictionary") else None
        same = made is not None and made.config.get("directions") == config.to_json()
        if same and _reads(workspace, name) == _reads(workspace, run):
            return there
        if not (replace and made is not None and "directions" in made.config):
            raise UserError(
                f"There is a run {name!r} already, of something else or made otherwise.",
                "a name of its own, or the directions, --active-share and --run that it was made with",
                "choose another with --as" + (", or add --replace." if made and "directions" in made.config else "."),
            )
    return found(_WORK)(of, name, config)


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
    return (
        NEURONS if source == NEURONS else re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source).stem).strip("-") or "directions"
    )
