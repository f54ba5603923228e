"""`sparselex export`: a run's dictionary in another project's layout."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.cli.options import RunOption, WorkspaceArgument


def export(
    workspace: WorkspaceArgument,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.")],
    layout: Annotated[
        str, typer.Option("--layout", help="saelens, sparsify or circuit-tracer (transcoders).")
    ] = "saelens",
    run: RunOption = "main",
) -> None:
    """Write the run's dictionary as SAELens, sparsify or circuit-tracer reads it."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline

    Pipeline.open(Workspace(workspace), run).export_dictionary(to, layout)
    print(f"{layout} layout in {to}")
