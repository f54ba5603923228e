"""`sparselex serve`: the browser."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
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
) -> None:
    """Browse a workspace: overview, feature list, a page for every feature."""
    from sparselex.base.workspace import Workspace
    from sparselex.server.app import serve as serve_pages

    serve_pages(Workspace(workspace), host=host, port=port, to_all=to_all, live=live)
