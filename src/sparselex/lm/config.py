"""Which model is read: a configuration that can be read without loading PyTorch."""

from typing import Literal

from sparselex.base.config import Config

Twin = Literal["none", "reinitialised", "permuted", "gaussian", "gaussian_kept", "redrawn"]
"""Random-weight twins of a model, and `none` for the model itself."""


ModelDtype = Literal["float32", "bfloat16", "float16", "auto"]
"""Precisions that a model is run in."""


Engine = Literal["transformers", "interp-engine"]
"""Libraries that run a model."""


class ModelConfig(Config):
    """Which model is read, and how it is loaded."""

    name: str
    """`embedded`, `embedded-b`, `smollm2` (a package of its own), a local folder or GGUF file, or a Hugging Face
    name."""

    twin: Twin = "none"
    """A random-weight twin instead of the trained model."""

    twin_seed: int = 0
    """Seed of the twin's weights."""

    device: str = "cpu"
    """Torch device."""

    dtype: ModelDtype = "float32"
    """Precision of weights and activations inside the model; `auto` takes that of its files."""

    attention: str = ""
    """How attention is computed, as transformers names it (`eager`, `sdpa`, `flash_attention_2`); empty for its own
    choice."""

    engine: Engine = "transformers"
    """What runs it: `transformers`, or `interp-engine`, which reads and does not edit, on a GPU with vLLM where that is
    installed."""

    trust_remote_code: bool = False
    """Whether code that comes with the weights may run."""
