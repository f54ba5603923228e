"""`sparselex ablate`: what the model predicts without a latent, on a prompt."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.cli.showing import print_json


def ablate(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    latent: Annotated[int, typer.Option("--latent", help="The latent that is changed at every token.")],
    prompt: Annotated[str, typer.Option("--prompt", help="The text.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="What its activation becomes: zero; its mean over the training split; or resample, at each token what "
            "it is at another one, drawn by --seed.",
        ),
    ] = "zero",
    seed: Annotated[int, typer.Option("--seed", help="Of what resample draws.")] = 0,
    shown: Annotated[int, typer.Option("--shown", help="Tokens listed whose probability changes most.")] = 5,
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose dictionary it is.")] = "main",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Print, token by token of a prompt, what the model predicts without a latent."""
    from sparselex.cli.prompts import print_ablated
    from sparselex.recipes.edits_of import usual
    from sparselex.recipes.run import Run

    found = Run.open(workspace, run).prompts.ablated(prompt, latent, to=usual(to), seed=seed, n_shown=shown)
    print_json(found.to_json()) if json else print_ablated(found)
