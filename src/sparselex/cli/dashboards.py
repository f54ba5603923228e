"""`sparselex dashboards`: other people's feature dashboards as a run."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.formats import counted
from sparselex.cli.showing import print_json
from sparselex.cli.stages import created


def dashboards(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder; made if need be.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder of dashboards, or one batch file.")],
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run that they become.")] = "elsewhere",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read features that were made elsewhere (SAEDashboard batches, a Neuronpedia export) as a run of the browser."""
    from sparselex.recipes.dashboards.taking import take_dashboards

    with created(workspace) as opened:
        taken = take_dashboards(opened, run, source)
    if json:
        print_json(taken.to_json())
        return
    print(
        f"{counted(taken.n_features, 'feature')} of {taken.dictionary} of {taken.model}, read as {taken.format}: "
        f"{taken.n_texts:,} texts and {taken.n_explanations:,} explanations, as run {taken.run}"
    )
    if taken.left_out:
        print("not shown: " + ", ".join(f"{name} ({n:,} times)" for name, n in taken.left_out.items()))
