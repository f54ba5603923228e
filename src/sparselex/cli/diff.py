"""`sparselex diff`: a crosscoder of two models in, what is only in one of them out."""

from sparselex.cli.options import JsonOption, RunOption, WorkspaceArgument, print_json


def diff(workspace: WorkspaceArgument, run: RunOption = "main", json: JsonOption = False) -> None:
    """Compare the two models of a crosscoder: which latents are in one model alone, and which only seem to be (latent
    scaling)."""
    from sparselex.base.workspace import Workspace
    from sparselex.cli.tables import print_diff
    from sparselex.recipes.pipeline import Pipeline

    pipeline = Pipeline.open(Workspace(workspace), run)
    found = pipeline.diff()
    if json:
        print_json(found.to_json())
    else:
        print_diff(found)
        print(f"all latents: {pipeline.folder / 'diff' / 'latents.parquet'}")
