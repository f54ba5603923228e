"""`sparselex train`: activations in, a dictionary out."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.cli.options import JsonOption, PrefetchOption, RunOption, WorkspaceArgument, parse_options, print_json


def train(
    workspace: WorkspaceArgument,
    run: RunOption = "main",
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="Type of dictionary: batchtopk (default), topk, relu, jumprelu, gated, matryoshka, panneal, abstopk, "
            "matching_pursuit, "
            "archetypal, clt, or one that an installed package adds.",
        ),
    ] = None,
    expansion: Annotated[
        float | None, typer.Option("--expansion", min=0, help="Latents per activation dimension. Default: 8.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            min=1,
            help="Latents kept per token (clt: of all layers together); for jumprelu the number aimed at, for "
            "matching_pursuit the number of steps. "
            "Default: 32. Not for relu, gated and panneal.",
        ),
    ] = None,
    l1: Annotated[
        float | None,
        typer.Option("--l1", help="Weight of the L1 penalty (relu, gated, panneal). Default: the type's."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, help="Tokens to train on; default: one pass.")
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            help="Precision in which latents are chosen: float32 or bfloat16 (the types with k, but for jumprelu and "
            "matching_pursuit). "
            "Default: the faster here.",
        ),
    ] = None,
    frozen: Annotated[
        str | None,
        typer.Option(
            "--frozen",
            help="What never learns, for controls: decoder, soft_decoder (rows stay near their first direction) or "
            "encoder. Default: nothing.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help='Another field of the type\'s configuration, such as convention="2023"; may be repeated.',
        ),
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Let a transcoder also pass a linear function of its input.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of weights and order. Default: 0.")] = None,
    prefetch: PrefetchOption = 0,
    divide_latents: Annotated[
        int,
        typer.Option(
            "--divide-latents",
            min=1,
            help="Under torchrun: processes among which the latents are divided; the rest divides the data.",
        ),
    ] = 1,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="A JSON file with the whole training configuration, in place of the options above from --kind to "
            "--seed.",
        ),
    ] = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option("--log-to", help="Also send the log to tensorboard or wandb; may be repeated."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a sparse dictionary on the run's activations (killed: run it again, it goes on exactly)."""
    from sparselex.base.errors import UserError
    from sparselex.base.workspace import Workspace
    from sparselex.dictionaries.ranks import Ranks
    from sparselex.recipes.pipeline import Pipeline
    from sparselex.recipes.run import TrainingChoice
    from sparselex.training.config import TrainConfig
    from sparselex.training.loggers import logs

    pipeline = Pipeline.open(Workspace(workspace), run)
    values = {
        "kind": kind,
        "expansion": expansion,
        "k": k,
        "l1": l1,
        "n_tokens": tokens,
        "selection": selection,
        "frozen": frozen,
        "options": parse_options(option or []),
        "skip": skip or None,
        "seed": seed,
    }
    given = {name: value for name, value in values.items() if value not in (None, {})}
    whole = TrainConfig.from_file(config) if config else None
    if whole and given:
        options = [{"n_tokens": "tokens", "options": "option"}.get(name, name) for name in given]
        raise UserError(
            f"--config was given together with {', '.join(f'--{name}' for name in options)}.",
            "the whole configuration from the file, or the options",
            f"leave {'these' if len(given) > 1 else 'it'} out, and write the value into {config}; or leave --config "
            "out.",
        )
    if whole:
        choice = TrainingChoice.of(whole, prefetch=prefetch)
    else:
        choice = TrainingChoice.parse(given | {"prefetch": prefetch}, "the training options")
    pipeline = pipeline.use_training(choice)
    ranks = Ranks.from_environment(divide_latents, pipeline.config.model.device)
    shown = pipeline.config.to_json()
    places = log_to or [] if ranks.is_main else []
    with logs(places, pipeline.folder / "logs", f"{pipeline.workspace.path.name}/{run}", shown) as observers:
        dictionary = pipeline.train(whole, observers=observers, ranks=ranks)
    if not ranks.is_main:
        return
    if json:
        print_json(pipeline.manifest("dictionary").to_json())
    else:
        print(
            f"{type(dictionary).__name__} dictionary, {dictionary.d_in} -> {dictionary.d_sae} latents, in "
            f"{pipeline.folder / 'dictionary'}"
        )
