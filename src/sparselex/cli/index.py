"""`sparselex index`: a run's dictionary, or directions of a person's own as a run beside it."""

import os
from pathlib import Path
from typing import Any

import typer

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, own
from sparselex.cli.stages import JSON, REPLACE, RUN, WORKSPACE, act_stage
from sparselex.recipes.directions import NEURONS, run_of_directions
from sparselex.recipes.stages.index import Index

DIRECTIONS = own(
    "directions",
    Path | None,
    typer.Option(
        "--directions",
        metavar="FILE",
        help="Index the directions of a file instead (.npy, .npz, .safetensors, .pt: one a row, with a probe's bias "
        "if there is one), as a run of their own that reads what RUN reads.",
    ),
    None,
)
NEURONS_TOO = own(
    "neurons",
    bool,
    typer.Option("--neurons", help="Index the coordinates of what RUN reads instead, as a run of their own."),
    False,
)
AS = own(
    "as_",
    str | None,
    typer.Option("--as", metavar="RUN", help="Name of that run. Left out, the file's, or `neurons`."),
    None,
)
SHARE = own(
    "active_share",
    float | None,
    typer.Option(
        "--active-share",
        metavar="NUMBER",
        help="Share of training tokens on which each direction is active: where it is largest. Left out, 0.01; with "
        "biases, wherever a probe is above 0.",
    ),
    None,
)


def act(
    values: dict[str, Any],
    *,
    workspace: Path,
    run: str,
    directions: Path | None,
    neurons: bool,
    as_: str | None,
    active_share: float | None,
    replace: bool,
    json: bool,
) -> None:
    """Make the run of directions where they are asked for, and index it, or the run itself."""
    if directions is None and not neurons:
        if as_ is not None or active_share is not None:
            raise UserError(
                f"{'--as' if as_ is not None else '--active-share'} was given, and nothing of its own to index.",
                "--directions FILE or --neurons beside it",
                "add one of them, or leave it out.",
            )
    elif directions is not None and neurons:
        raise UserError("--directions and --neurons were both given.", "one of them", "index them one after the other.")
    elif os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            "Directions were given to several processes at once.",
            "one process, which makes their run",
            "run this without torchrun; `index --run` with the name of that run may then be divided.",
        )
    else:
        run = run_of_directions(
            Workspace(workspace),
            NEURONS if directions is None else directions,
            run=run,
            name=as_ or "",
            active_share=active_share,
            replace=replace,
        ).name
    act_stage(Index, values, workspace=workspace, run=run, json=json, replace=replace)


index = command(Index, act, WORKSPACE, RUN, DIRECTIONS, NEURONS_TOO, AS, SHARE, REPLACE, JSON)
