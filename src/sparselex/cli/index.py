"""`sparselex index`: a dictionary in, a record for every feature out."""

from sparselex.cli.options import JsonOption, RunOption, WorkspaceArgument, print_json


def index(workspace: WorkspaceArgument, run: RunOption = "main", json: JsonOption = False) -> None:
    """Read all text once and write statistics, examples, logit effects and neighbours of every latent."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline

    pipeline = Pipeline.open(Workspace(workspace), run)
    features = pipeline.index()
    if json:
        print_json(pipeline.manifest("index").to_json())
    else:
        print(f"{features.d_sae:,} features in {pipeline.folder / 'index'}")
