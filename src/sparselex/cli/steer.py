"""`sparselex steer`: what the model writes when some of a run's latents are turned up, or one is held at a value."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sparselex.cli.showing import print_json


def steer(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="The text that the model goes on from. With --pin the numbers 1 to 10, if none."),
    ] = None,
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
    pin: Annotated[
        bool,
        typer.Option(
            "--pin",
            help="Hold the latent's activation at a value instead, whatever it would be, and sample several texts; "
            "beside them plain ones, and such under another latent that is held as strongly.",
        ),
    ] = False,
    value: Annotated[
        float | None,
        typer.Option("--value", help="With --pin, that value. Default: its largest activation in the training split."),
    ] = None,
    at: Annotated[
        str,
        typer.Option(
            "--at", help="With --pin: at all tokens, or at the last of the prompt and those that are written."
        ),
    ] = "all",
    samples: Annotated[int, typer.Option("--samples", help="With --pin, texts of each kind.")] = 3,
    n_new: Annotated[int, typer.Option("--tokens", help="Tokens written at most.")] = 40,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="0 writes the likeliest token. Default: 0, with --pin 1."),
    ] = None,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens of this probability.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of what is drawn; the same for both texts.")] = 0,
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose dictionary it is.")] = "main",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Print what the model writes behind a prompt, plain and steered, by the same chance."""
    from sparselex.cli.prompts import print_pinned, print_steered
    from sparselex.recipes.run import Run
    from sparselex.recipes.work.steer import Given, amounts, check_given, numbers

    check_given(Given(prompt, latent or [], direction, strength, kl, value, at), pin=pin)
    opened = Run.open(workspace, run)
    options: dict[str, Any] = {"n_new": n_new, "top_p": top_p, "seed": seed}
    if pin:
        from sparselex.recipes.pinned_records import PREFIX, at_of

        held = opened.pinned(
            (latent or [0])[0],
            value=value,
            at=at_of(at),
            prompt=prompt or PREFIX,
            n_samples=samples,
            temperature=1.0 if temperature is None else temperature,
            **options,
        )
        print_json(held.to_json()) if json else print_pinned(held)
        return
    by = amounts(opened, latent or [], direction, numbers(strength or ["2"]), prompt or "")
    found = opened.prompts.steered(prompt or "", by, kl=kl, temperature=temperature or 0.0, **options)
    print_json(found.to_json()) if json else print_steered(found)
