"""How the MLP of a language model is decomposed: values that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Count, Seed
from sparselex.base.config import Config
from sparselex.parameters.config import AttackConfig, SpdConfig

Layer = Annotated[int, Field(ge=0, le=2**16)]
"""Number of a block."""


class MlpConfig(Config):
    """The MLP of one block and how it is decomposed."""

    layer: Layer = 0
    """The block."""

    spd: SpdConfig = SpdConfig(
        n_components=512,
        d_gate=4,
        cut=0.03,
        n_steps=1000,
        batch_size=256,
        lr=2e-3,
        gate_lr=10.0,
        bare=0.5,
        minimality=6e-3,
        p=0.5,
        faithfulness=1000.0,
    )
    """How its matrices are decomposed; inputs are tokens."""

    attack: AttackConfig = AttackConfig(n_inputs=1024)
    """How masks are sought that move the predictions."""

    n_inputs: Count = 16_384
    """Tokens of the test split that figures are over."""

    seed: Seed = 0
    """Seed of all that is drawn when figures are made."""


QUICK = MlpConfig(
    spd=MlpConfig().spd.model_copy(update={"n_steps": 100, "n_components": 256}),
    attack=AttackConfig(n_inputs=256, n_steps=5),
    n_inputs=2048,
)
"""Settings by which it is seen what comes out, and nothing is believed."""
