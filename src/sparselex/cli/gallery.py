"""`sparselex gallery`: features as one file."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.errors import REFUSALS, UserError
from sparselex.base.files import write_file
from sparselex.base.workspace import MAIN, Workspace


def gallery(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The HTML file that is written.")],
    latent: Annotated[list[int] | None, typer.Option("--latent", help="A feature to show; may be repeated.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All features of a small dictionary, with a list and a search in the file.")
    ] = False,
    random: Annotated[
        int | None,
        typer.Option("--random", min=0, help="Features drawn at random beside. Left out, as many, ten at least."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")] = 0,
    title: Annotated[str, typer.Option("--title", help="Title of the page.")] = "",
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose features these are.")] = MAIN,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file that is there.")] = False,
) -> None:
    """Write features, chosen ones beside others drawn at random, or all, into one HTML file that needs no server."""
    from sparselex.server.gallery import gallery as made
    from sparselex.server.whole import whole_gallery

    if everything and (latent or random is not None):
        raise UserError("--all was given with --latent or --random.", "one of them", "leave --all out, or the others.")
    if to.exists() and not replace:
        raise UserError(f"{to} is there already.", "a new file", "choose another name, or add --replace.")
    opened = Workspace(workspace)
    if everything:
        text = whole_gallery(opened, run, title=title)
    else:
        text = made(opened, run, latent or [], n_random=random, seed=seed, title=title)
    try:
        write_file(to, text.encode(errors="backslashreplace"))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise UserError(f"Writing {to} failed: {error.strerror}.", "a folder to write to", "choose another.") from None
    print(f"{to}: {len(text) / 1e6:.1f} MB; it can be opened, sent and put on any web host as it is.")
