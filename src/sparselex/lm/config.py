"""Which model is read: a configuration that can be read without loading PyTorch."""

from typing import Literal

from sparselex.base.config import Config

Twin = Literal["none", "reinitialised", "permuted", "gaussian"]
"""Random-weight twins of a model, and `none` for the model itself."""


class ModelConfig(Config):
    """Which model is read, and how it is loaded."""

    name: str
    """`embedded`, `embedded-b`, or a Hugging Face name or local folder."""

    twin: Twin = "none"
    """A random-weight twin instead of the trained model."""

    twin_seed: int = 0
    """Seed of the twin's weights."""

    device: str = "cpu"
    """Torch device."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of weights and activations inside the model."""

    trust_remote_code: bool = False
    """Whether code that comes with the weights may run."""
