"""`sparselex evaluate`: dictionary and model in, figures out."""

from typing import Annotated

import typer

from sparselex.cli.options import JsonOption, RunOption, WorkspaceArgument, print_json


def evaluate(
    workspace: WorkspaceArgument,
    run: RunOption = "main",
    controls: Annotated[
        str | None,
        typer.Option(
            "--controls",
            help="Control dictionaries, separated by commas: neurons, pca, random, covariance, kmeans, ica; or `none`. "
            "kmeans and ica take minutes. Default: as the run is configured (neurons,pca,covariance).",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure the dictionary on held-out documents, beside control dictionaries at its L0, and update the report."""
    from sparselex.base.workspace import Workspace
    from sparselex.cli.tables import print_report
    from sparselex.evaluate.report import write_report
    from sparselex.recipes.pipeline import Pipeline

    opened = Workspace(workspace)
    pipeline = Pipeline.open(opened, run)
    if controls is not None:
        names = [name.strip() for name in controls.split(",")]
        pipeline = pipeline.use_controls([] if names == ["none"] else names)
    pipeline.evaluate()
    found = write_report(opened)
    if json:
        print_json(found.to_json())
    else:
        print_report(found)
