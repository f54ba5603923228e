"""`sparselex harvest`: text and a model in, activation shards out."""

from typing import Annotated

import typer

from sparselex.cli.options import (
    ContextOption,
    DeviceOption,
    HookOption,
    JsonOption,
    ModelOption,
    RunOption,
    SecondModelOption,
    TargetOption,
    TextOption,
    TokensOption,
    TrustOption,
    WorkspaceArgument,
    print_json,
)


def harvest(
    workspace: WorkspaceArgument,
    model: ModelOption = "embedded",
    text: TextOption = "stdlib",
    hook: HookOption = None,
    target: TargetOption = None,
    second_model: SecondModelOption = None,
    run: RunOption = "main",
    tokens: TokensOption = 5_500_000,
    context: ContextOption = 128,
    control: Annotated[
        str, typer.Option("--control", help="Read a control of the model: none, reinitialised, permuted or gaussian.")
    ] = "none",
    dtype: Annotated[
        str,
        typer.Option("--dtype", help="Precision on disk: float32, bfloat16, or int8 (a quarter; one scale per token)."),
    ] = "float32",
    device: DeviceOption = "cpu",
    trust_remote_code: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Run the model over text and store the activations of one hook as shards (killed: run it again)."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline
    from sparselex.recipes.run import new_run

    config = new_run(
        model,
        text,
        hook=hook,
        target=target,
        second_model=second_model,
        n_tokens=tokens,
        n_ctx=context,
        control=control,
        shard_dtype=dtype,
        trust_remote_code=trust_remote_code,
        device=device,
    )
    store = Pipeline(Workspace.create(workspace), run, config).harvest()
    if json:
        print_json(store.manifest.to_json())
    else:
        print(f"{store.n_tokens:,} activations of width {store.d_in} in {store.path}")
