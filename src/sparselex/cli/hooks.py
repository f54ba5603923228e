"""`sparselex hooks`: the places of a model that can be read and edited."""

from typing import Annotated

import typer

from sparselex.cli.options import JsonOption, TrustOption, print_json


def hooks(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A Hugging Face name or folder, or `embedded`.")],
    trust_remote_code: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """List the hook points of a model with their widths."""
    from sparselex.lm.config import ModelConfig
    from sparselex.lm.load import load_model

    subject = load_model(ModelConfig(name=model, trust_remote_code=trust_remote_code))
    points = subject.hooks()
    if json:
        print_json([{"name": point.name, "width": point.width} for point in points])
        return
    for point in points:
        print(f"{point.width:>7}  {point.name}")
    print("Any other module: module:<dotted path>, its output.")
