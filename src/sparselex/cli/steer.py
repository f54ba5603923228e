"""`sparselex steer`: what the model writes when some of a run's latents are turned up."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.cli.showing import print_json


def steer(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    prompt: Annotated[str, typer.Option("--prompt", help="The text that the model goes on from.")],
    latent: Annotated[
        list[int] | None, typer.Option("--latent", help="A latent that is turned up; given again, several.")
    ] = None,
    direction: Annotated[
        Path | None,
        typer.Option("--direction", metavar="FILE", help="A direction instead: a vector in .npy or .safetensors."),
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            "--strength",
            help="How much is added: of a latent in multiples of its largest activation in the training split, of a "
            "direction in multiples of the mean norm of what is there. One number for all, or one for each --latent; "
            "below 0 turns down. Default: 2.",
        ),
    ] = None,
    kl: Annotated[
        float | None,
        typer.Option("--kl", help="Scale it so that the prompt's predictions have this mean KL divergence, nats."),
    ] = None,
    n_new: Annotated[int, typer.Option("--tokens", help="Tokens written at most.")] = 40,
    temperature: Annotated[float, typer.Option("--temperature", help="0 writes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens of this probability.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn; the same for both texts.")] = 0,
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose dictionary it is.")] = "main",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Print what the model writes behind a prompt, plain and steered, by the same chance."""
    from sparselex.cli.prompts import print_steered
    from sparselex.recipes.run import Run
    from sparselex.recipes.work.steer import amounts, numbers

    opened = Run.open(workspace, run)
    by = amounts(opened, latent or [], direction, numbers(strength or ["2"]), prompt)
    found = opened.prompts.steered(prompt, by, kl=kl, n_new=n_new, temperature=temperature, top_p=top_p, seed=seed)
    print_json(found.to_json()) if json else print_steered(found)
