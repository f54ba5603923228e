"""What is asked of a dictionary as one of the model: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import BatchRows, Count, Seed
from sparselex.base.config import Config
from sparselex.dictionaries.kinds import Control

Directions = Annotated[int, Field(ge=20, le=2**16)]
"""Random directions: of fewer no percentile can be told."""

ReadShare = Annotated[float, Field(gt=0, lt=1)]
"""Part of all sensitivity that directions count as read for."""


class ModelFeaturesConfig(Config):
    """How what the model reads of a dictionary is measured."""

    n_rows: Count = 96
    """Rows of the test split from which gradients are taken, spread over it; of a long document no more than twice its
    even share."""

    sample_rows: Count = 256
    """Rows of the training split from which covariance and controls are taken."""

    n_directions: Directions = 1024
    """Directions drawn as the activations vary that every figure is held against."""

    read_share: ReadShare = 0.95
    """Share of the trace of the output metric that the directions hold which count as read."""

    unread_below: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """A latent is unread where it is less relevant than this share of directions drawn as the activations vary."""

    controls: tuple[Control, ...] = ("neurons", "pca", "random")
    """Directions that are measured beside the dictionary's."""

    batch_rows: BatchRows | None = None
    """Rows in a pass with gradients; left out, as many as there is memory for."""

    seed: Seed = 0
    """Seed of directions, and of the tokens that are drawn from what the model predicts."""
