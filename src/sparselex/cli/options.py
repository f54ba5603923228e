"""Options that several verbs share, with their help, and how their values become a run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sparselex.base.errors import UserError

WorkspaceArgument = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")]
RunOption = Annotated[str, typer.Option("--run", help="Name of the run inside the workspace.")]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="`embedded`, `embedded-b`, or any Hugging Face causal LM: a name or a local folder."),
]
TextOption = Annotated[
    str,
    typer.Option(
        "--text",
        help="`stdlib` (the running Python's standard library), a file or folder (text, JSON, JSONL, Parquet), or a "
        "Hugging Face dataset (NAME or NAME:SPLIT).",
    ),
]
HookOption = Annotated[
    str | None,
    typer.Option(
        "--hook",
        help="Where to read the model; `sparselex hooks MODEL` lists the names; several joined by + make a "
        "crosscoder. Default: the MLP's "
        "hidden layer of the embedded model, else the residual stream after the middle layer.",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="A second hook, to be reconstructed from the first: a transcoder; as many joined by + as --hook has for "
        "a cross-layer transcoder "
        "(train --kind clt). Default: the hook itself.",
    ),
]
SecondModelOption = Annotated[
    str | None,
    typer.Option(
        "--second-model",
        help="A second model with the same tokenizer, read at the same hook: a crosscoder between the two.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Where the model runs and dictionaries are trained: cpu, cuda, cuda:1.")
]
TokensOption = Annotated[int, typer.Option("--tokens", min=1, help="Tokens of text in the corpus.")]
ContextOption = Annotated[int, typer.Option("--context", min=2, help="Tokens in a row of the corpus.")]
PrefetchOption = Annotated[
    int, typer.Option("--prefetch", min=0, help="Blocks of activations that a process of their own reads ahead.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run model code that comes with the weights. Only if you trust it.")
]


def parse_options(given: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a dictionary; a value is read as JSON where it is JSON, else as text."""
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UserError(
                f"--option {text!r} has no name or no value.", "NAME=VALUE", "write for example --option bandwidth=0.3."
            )
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
