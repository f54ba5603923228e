"""`sparselex serve`: the browser."""

from typing import Annotated

import typer

from sparselex.cli.options import WorkspaceArgument


def serve(
    workspace: WorkspaceArgument,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
) -> None:
    """Browse a workspace: overview, feature list, a page for every feature."""
    from sparselex.base.workspace import Workspace
    from sparselex.server import app

    app.serve(Workspace(workspace), host=host, port=port)
