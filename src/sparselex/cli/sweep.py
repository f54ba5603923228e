"""`sparselex sweep`: activations in, many dictionaries and their Pareto report out."""

from typing import Annotated

import typer

from sparselex.cli.options import JsonOption, PrefetchOption, RunOption, WorkspaceArgument, parse_options, print_json


def sweep(
    workspace: WorkspaceArgument,
    run: RunOption = "main",
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Type of dictionary; may be repeated, as the next four. Default: batchtopk."),
    ] = None,
    expansion: Annotated[
        list[float] | None, typer.Option("--expansion", help="Latents per activation dimension. Default: 8.")
    ] = None,
    k: Annotated[list[int] | None, typer.Option("--k", help="Latents kept per token. Default: 16, 32 and 64.")] = None,
    l1: Annotated[
        list[float] | None,
        typer.Option("--l1", help="Weight of the L1 penalty (relu, gated, panneal). Default: the type's."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="Seed of the weights. Default: 0.")] = None,
    hook: Annotated[
        list[str] | None,
        typer.Option("--hook", help="Where to read the model; may be repeated. Default: the run's hook."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, help="Tokens to train on; default: one pass.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME=VALUE", help="Another field of the types' configurations; may be repeated."
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of test documents on which all are measured.")] = 200,
    prefetch: PrefetchOption = 0,
    use: Annotated[
        str | None,
        typer.Option(
            "--use", metavar="NAME", help="Train nothing: make this dictionary of the sweep a run of its own."
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="RUN", help="Name of the run that --use makes. Default: the dictionary's."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train every combination of types, widths, sparsities and seeds from one reading of the activations, and compare
    them."""
    from sparselex.base.workspace import Workspace
    from sparselex.cli.tables import print_sweep
    from sparselex.recipes.pipeline import Pipeline
    from sparselex.recipes.sweep import SweepConfig
    from sparselex.recipes.sweep import sweep as train_all
    from sparselex.recipes.sweep import use as make_run

    pipeline = Pipeline.open(Workspace(workspace), run)
    if use is not None:
        new = make_run(pipeline, use, as_ or use)
        print(f"run {new.run}: `sparselex index {workspace} --run {new.run}` goes on from here")
        return
    values = {"kinds": kind, "expansions": expansion, "ks": k, "l1s": l1, "seeds": seed, "hooks": hook}
    given = {name: value for name, value in values.items() if value}
    config = SweepConfig.parse(
        given | {"n_tokens": tokens, "options": parse_options(option or []), "n_rows": rows, "prefetch": prefetch},
        "the options of the sweep",
    )
    found = train_all(pipeline, config)
    if json:
        print_json(found.to_json())
    else:
        print_sweep(found)
