"""`sparselex hooks`: the places of a model that can be read and edited."""

from typing import Annotated, Any

from sparselex.base.config import Config
from sparselex.base.formats import plain
from sparselex.cli.making import command, flags
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON
from sparselex.lm.config import Engine, ModelConfig, ModelDtype
from sparselex.recipes.option import Option


class HooksConfig(Config):
    """List the hook points of a model with their widths, as it is loaded for a run."""

    model: Annotated[str, Option(positional=True)]
    """`embedded`, `embedded-b`, `smollm2` (a package of its own), or any Hugging Face causal language model: a name, a
    local folder or a GGUF file."""

    device: str = "cpu"
    """Where the model is loaded: cpu, cuda, cuda:1."""

    model_dtype: ModelDtype = "float32"
    """Precision in which it is loaded: float32, bfloat16, float16, or auto for its files' own."""

    attention: str = ""
    """How the model computes attention, as transformers names it: eager, sdpa, flash_attention_2. Left out, its own
    choice."""

    engine: Engine = "transformers"
    """What runs the model: transformers, or interp-engine, which has fewer places, with vLLM on every GPU where that is
    installed."""

    trust_remote_code: bool = False
    """Run model code that comes with the weights. Only if you trust it."""

    def of_model(self) -> ModelConfig:
        """The configuration of the model that is loaded."""
        values = self.to_json()
        return ModelConfig(name=values.pop("model"), dtype=values.pop("model_dtype"), **values)


def act(values: dict[str, Any], *, json: bool) -> None:
    """Load the model and print what it has."""
    asked = HooksConfig.parse(values, "the options of hooks", names=flags(HooksConfig))

    from sparselex.lm.load import load_model

    points = load_model(asked.of_model()).hooks()
    if json:
        print_json([{"name": point.name, "width": point.width} for point in points])
        return
    for point in points:
        print(plain(f"{point.width:>7}  {point.name}"))
    print("Any other module: module:<dotted path>, its output. One head of attn.hook_q, _k, _v or _z: NAME:HEAD.")


hooks = command(HooksConfig, act, JSON)
