"""`sparselex demo`: the whole pipeline and its control, then the browser."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.cli.options import (
    ContextOption,
    DeviceOption,
    HookOption,
    ModelOption,
    TextOption,
    TokensOption,
    TrustOption,
)


def demo(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")] = Path("workspace"),
    model: ModelOption = "embedded",
    text: TextOption = "stdlib",
    hook: HookOption = None,
    tokens: TokensOption = 5_500_000,
    context: ContextOption = 128,
    expansion: Annotated[float, typer.Option("--expansion", min=0, help="Latents per activation dimension.")] = 8,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Latents active per token. Default: 32.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the dictionary.")] = 0,
    twin: Annotated[bool, typer.Option("--twin/--no-twin", help="Also run the random-weight control.")] = True,
    cached: Annotated[
        bool, typer.Option("--cached", help="Keep activation shards on disk instead of going live.")
    ] = False,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Open the browser's server at the end.")] = True,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the browser; 0 takes a free one.")
    ] = 8321,
    device: DeviceOption = "cpu",
    trust_remote_code: TrustOption = False,
) -> None:
    """Make a graded dictionary from start to end: corpus, training, index, explanations, evaluation, and the same on a
    random-weight twin. Killed at any moment, the same command goes on; run again, it does nothing twice."""
    from sparselex.base.workspace import Workspace
    from sparselex.cli.tables import print_report
    from sparselex.evaluate.report import write_report
    from sparselex.recipes.demo import run_demo
    from sparselex.recipes.run import new_run
    from sparselex.server.app import serve as serve_pages

    config = new_run(
        model,
        text,
        hook=hook,
        n_tokens=tokens,
        n_ctx=context,
        expansion=expansion,
        k=k,
        seed=seed,
        cached=cached,
        trust_remote_code=trust_remote_code,
        device=device,
    )
    opened = Workspace.create(workspace)
    run_demo(opened, config, twin=twin)
    print_report(write_report(opened))
    if serve:
        serve_pages(opened, port=port)
    else:
        print(f"\nBrowse it with: sparselex serve {workspace}")
