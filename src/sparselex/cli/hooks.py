"""`sparselex hooks`: the places of a model that can be read and edited."""

from typing import Annotated

import typer

from sparselex.base.formats import plain
from sparselex.cli.showing import print_json


def hooks(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A Hugging Face name or folder, or `embedded`.")],
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run model code that comes with the weights.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the hook points of a model with their widths."""
    from sparselex.lm.config import ModelConfig
    from sparselex.lm.load import load_model

    points = load_model(ModelConfig(name=model, trust_remote_code=trust_remote_code)).hooks()
    if json:
        print_json([{"name": point.name, "width": point.width} for point in points])
        return
    for point in points:
        print(plain(f"{point.width:>7}  {point.name}"))
    print("Any other module: module:<dotted path>, its output. One head of attn.hook_q, _k, _v or _z: NAME:HEAD.")
