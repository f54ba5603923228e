"""`sparselex import`: a dictionary of another project in, a run's dictionary out."""

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


def import_(
    workspace: WorkspaceArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A local folder or file, or a Hugging Face repository (owner/name or owner/name:sub/folder-or-file).",
        ),
    ],
    model: ModelOption = "embedded",
    text: TextOption = "stdlib",
    hook: HookOption = None,
    target: TargetOption = None,
    second_model: SecondModelOption = None,
    run: RunOption = "main",
    tokens: TokensOption = 5_500_000,
    context: ContextOption = 128,
    device: DeviceOption = "cpu",
    trust_remote_code: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Take a dictionary of another project (SAELens, sparsify, dictionary_learning, OpenAI, Llama Scope, Gemma Scope,
    circuit-tracer) as a run's; then index, explain and evaluate it."""
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
        trust_remote_code=trust_remote_code,
        device=device,
    )
    pipeline = Pipeline(Workspace.create(workspace), run, config)
    found = pipeline.import_dictionary(source)
    if json:
        print_json(pipeline.manifest("dictionary").to_json())
    else:
        dictionary = found.dictionary
        kind = "dictionary" if dictionary.is_autoencoder else f"transcoder to width {dictionary.d_out}"
        print(
            f"{type(dictionary).__name__} {kind}, {dictionary.d_in} -> {dictionary.d_sae} latents, "
            f"read as {found.format}, in {pipeline.folder / 'dictionary'}"
        )
