"""`sparselex import`: a dictionary of another project in, a run's dictionary out."""

from typing import Annotated

import typer

from sparselex.cli.options import (
    ContextOption,
    HookOption,
    JsonOption,
    ModelOption,
    RunOption,
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
            help="A local folder or file, or a Hugging Face repository (owner/name or owner/name:sub/folder).",
        ),
    ],
    model: ModelOption = "embedded",
    text: TextOption = "stdlib",
    hook: HookOption = None,
    run: RunOption = "main",
    tokens: TokensOption = 6_000_000,
    context: ContextOption = 128,
    trust_remote_code: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Take a dictionary trained with SAELens, sparsify or dictionary_learning, or one of Gemma Scope, as a run's dictionary; then index, explain and evaluate it."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline
    from sparselex.recipes.run import new_run

    config = new_run(model, text, hook=hook, n_tokens=tokens, n_ctx=context, trust_remote_code=trust_remote_code)
    pipeline = Pipeline(Workspace.create(workspace), run, config)
    found = pipeline.import_dictionary(source)
    if json:
        print_json(pipeline.manifest("dictionary").to_json())
    else:
        print(
            f"{type(found.dictionary).__name__} dictionary, {found.dictionary.d_in} -> {found.dictionary.d_sae} latents, "
            f"read as {found.format}, in {pipeline.folder / 'dictionary'}"
        )
