"""`sparselex serve`: the browser."""

from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    workspaces: Annotated[
        list[Path],
        typer.Argument(metavar="WORKSPACE...", help="The workspace folder; or several, each under its name."),
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; by default this machine only. Others are answered with the token that is "
            "printed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    to_all: Annotated[
        bool, typer.Option("--to-all", help="Answer everybody who reaches the address, without a token.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Let readers put texts to the runs' models, steer them and ablate features: a process of its own "
            "loads a model when it is first asked.",
        ),
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="A name that the server goes by besides, as a proxy's before it; asks for the token as well."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Let nobody write notes.")] = False,
    base_path: Annotated[
        str, typer.Option("--base-path", help="What stands in front of all addresses behind a proxy, such as /lab.")
    ] = "",
) -> None:
    """Browse a workspace, or several: runs, feature lists, a page for every feature; notes are written there."""
    from sparselex.base.workspace import Workspace
    from sparselex.server.app import serve as serve_pages

    first, *more = map(Workspace, workspaces)
    options: dict[str, Any] = {"names": name or (), "read_only": read_only, "base_path": base_path, "live": live}
    serve_pages(first, *more, host=host, port=port, to_all=to_all, **options)
