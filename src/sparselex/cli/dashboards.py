"""`sparselex dashboards`: other people's feature dashboards as a run."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.errors import UserError
from sparselex.base.formats import counted
from sparselex.cli.showing import print_json
from sparselex.cli.stages import created


def dashboards(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder; made if need be.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of dashboards, of neuron records or of delphi's results, or one file of them.",
        ),
    ],
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run that they become.")] = "elsewhere",
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            metavar="NAME",
            help="Of delphi's cache: the model, on this machine or a Hugging Face name, whose tokenizer made its "
            "tokens; none shows them as numbers. Left out, the model that the cache names, if it lies on this machine.",
        ),
    ] = "",
    hookpoint: Annotated[
        str, typer.Option("--hookpoint", help="Of delphi's caches at several places the one that is meant.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read features that were made elsewhere (SAEDashboard batches, a Neuronpedia export, OpenAI's neuron records,
    delphi's cache) as a run of the browser."""
    from sparselex.convert.delphi_cache import is_cache
    from sparselex.recipes.dashboards.cached import take_cache
    from sparselex.recipes.dashboards.taking import take_dashboards

    given = {"--tokenizer": tokenizer, "--hookpoint": hookpoint}
    if not is_cache(source) and (idle := [flag for flag, value in given.items() if value]):
        raise UserError(f"{idle[0]} changes nothing in dashboards.", "a cache of delphi's", "leave it out.")
    with created(workspace) as opened:
        if is_cache(source):
            taken = take_cache(opened, run, source, tokenizer=tokenizer, hookpoint=hookpoint)
        else:
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
