"""Which toys there are: values that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import Amount, Count, Seed, Whole
from sparselex.base.config import Config
from sparselex.parameters.config import AttackConfig, SpdConfig

Width = Annotated[int, Field(ge=2, le=4096)]
"""Features or dimensions of a toy."""


class TmsConfig(Config):
    """A toy model of superposition and how it is trained."""

    n_features: Width = 5
    """Features that it reads and gives back."""

    d_hidden: Width = 2
    """Dimensions in between, fewer than features."""

    identity: bool = False
    """Whether an identity matrix stands in between."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Chance of a feature to be active."""

    n_steps: Whole = 3000
    """Steps of training; with 0 the weights stay as they were drawn, which is the control."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)] = 2048
    """Inputs in a step."""

    lr: Amount = 5e-3
    """Learning rate at the beginning."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Weight decay of AdamW."""


class ToyConfig(Config):
    """A toy and how it is decomposed."""

    toy: TmsConfig
    """What is trained."""

    spd: SpdConfig
    """How it is decomposed."""

    attack: AttackConfig = AttackConfig()
    """How masks are sought that move the output."""

    n_inputs: Count = 10_000
    """Inputs that figures are over."""

    seed: Seed = 0
    """Seed of the toy and of the inputs that figures are over."""


_SMALL = SpdConfig(n_components=20, d_gate=8, n_steps=1500, batch_size=256, lr=6e-3, minimality=8e-3)
_LARGE = SpdConfig(n_components=200, d_gate=8, n_steps=3000, batch_size=256, lr=4e-3, minimality=5e-4)
_LARGE_IDENTITY = _LARGE.model_copy(update={"n_steps": 4500, "minimality": 2.8e-4})

TOYS: dict[str, ToyConfig] = {
    "tms-5-2": ToyConfig(toy=TmsConfig(), spd=_SMALL),
    "tms-5-2-id": ToyConfig(toy=TmsConfig(identity=True), spd=_SMALL),
    "tms-40-10": ToyConfig(toy=TmsConfig(n_features=40, d_hidden=10), spd=_LARGE),
    "tms-40-10-id": ToyConfig(toy=TmsConfig(n_features=40, d_hidden=10, identity=True), spd=_LARGE_IDENTITY),
}
"""Toys by name: 5 features in 2 dimensions and 40 in 10, and both with an identity in between."""
