"""How weights are decomposed: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from sparselex.base.bounds import Amount, Count, Seed
from sparselex.base.config import Config

Components = Annotated[int, Field(ge=1, le=2**16)]
"""Components of a matrix."""

Coefficient = Annotated[float, Field(ge=0, le=1e6)]
"""Weight of a loss, which may be left out."""


class SpdConfig(Config):
    """Stochastic parameter decomposition (Bushnaq, Braun and Sharkey 2025, arXiv:2506.20790)."""

    n_components: Components = 20
    """Components of each matrix; more than its rank are allowed."""

    d_gate: Annotated[int, Field(ge=1, le=1024)] = 16
    """Hidden units of the small network that tells from a component's activation how important it is there."""

    begin: Literal["inputs", "random"] = "inputs"
    """What components read along at first: inputs that were drawn (`inputs`), or directions at random."""

    cut: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Singular values of those directions below this share of the largest count as 0 when it is sought what components
    write at first: else large ones that cancel may be found."""

    n_steps: Count = 5000
    """Steps of training."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)] = 1024
    """Inputs in a step."""

    lr: Amount = 1e-3
    """Learning rate at the beginning; it falls to 0 along a half cosine."""

    gate_lr: Amount = 1.0
    """Learning rate of the networks of importance, the components' own being 1: numbers of other sizes."""

    stochastic: Coefficient = 1.0
    """Weight of the reconstruction with all matrices masked at once."""

    layerwise: Coefficient = 1.0
    """Weight of the reconstruction with one matrix masked at a time."""

    bare: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of inputs whose masks are the importances themselves. Of many components drawn masks leave half of what is
    not important, never next to nothing of it, which importances then rely on."""

    minimality: Coefficient = 3e-3
    """Weight of the penalty on importances."""

    faithfulness: Coefficient = 1.0
    """Weight of the squared difference between the matrices and the sums of their components."""

    p: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Power of importances in their penalty."""

    seed: Seed = 0
    """Seed of the components, the inputs and the masks."""


class AttackConfig(Config):
    """How the masks are sought that move the output most."""

    n_inputs: Count = 2000
    """Inputs for which they are sought."""

    n_steps: Count = 20
    """Steps of ascent."""

    step: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Length of a step, of the whole range of a mask."""
