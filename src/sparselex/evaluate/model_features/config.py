"""What is asked of a dictionary as one of the model: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from sparselex.base.bounds import BatchRows, Count, Drawn, Listed, Once, Seed, Whole
from sparselex.base.config import Config
from sparselex.dictionaries.kinds import Control

Directions = Annotated[int, Field(ge=20, le=2**16)]
"""Random directions: of fewer no percentile can be told."""

ReadShare = Annotated[float, Field(gt=0, lt=1)]
"""Part of all sensitivity that directions count as read for."""

Part = Literal[
    "sensitivity", "plateau", "errors", "attribution", "dose", "composition", "tokens", "jacobians", "stability"
]
"""A measurement of the card beside relevance, which is always made."""

Length = Annotated[float, Field(gt=0, le=100)]
"""A length of a step, in median distances of an activation from the mean."""

Dose = Annotated[float, Field(gt=0, le=20)]
"""A mean divergence of what is predicted, nats."""


class ModelFeaturesConfig(Config):
    """How it is measured whether a dictionary is one of the model."""

    parts: Annotated[tuple[Part, ...], Once] = (
        "sensitivity",
        "plateau",
        "errors",
        "attribution",
        "dose",
        "composition",
        "tokens",
        "jacobians",
        "stability",
    )
    """What is measured besides the relevance of latents, which always is; `none`, nothing more. `sensitivity`: how far
    predictions move along latents; `plateau`: how far activations can be moved before predictions notice; `errors`:
    what the dictionary leaves out; `attribution`: gradients against ablation; `dose`: steering at equal divergence;
    `composition`: whether latents are made of others; `tokens`: entropy of the tokens they are active on; `jacobians`:
    which of them later latents depend on (with `--into`); `stability`: whether they are found again in other runs."""

    n_rows: Count = 96
    """Rows of the test split that are looked at, spread over it; of a long document no more than twice its even
    share."""

    sample_rows: Count = 256
    """Rows of the training split from which covariance and controls are taken."""

    n_directions: Directions = 1024
    """Directions drawn as the activations vary along which steps are held against those along latents."""

    n_null: Directions = 16_384
    """Directions drawn so whose relevance that of latents is held against: of fewer the median alone would decide which
    latents are above it."""

    read_share: ReadShare = 0.95
    """Share of the trace of the output metric that the directions hold which count as read."""

    unread_below: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """A latent is unread where it is less relevant than this share of directions drawn as the activations vary."""

    controls: Annotated[tuple[Control, ...], Once] = ("neurons", "pca", "random")
    """Directions that are measured beside the dictionary's."""

    latents: Count = 200
    """Latents whose effects are measured one by one, drawn from those that are active in the rows."""

    control_latents: Listed = 64
    """Directions of each control that are drawn for that."""

    n_places: Drawn = 12
    """Tokens at which each of them is looked at, drawn from those where it is active."""

    n_beside: Drawn = 8
    """Directions drawn as the activations vary that each step is held against, at every token."""

    lengths: Annotated[tuple[Length, ...], Once, Field(min_length=1)] = (0.25, 0.5, 1.0)
    """Lengths of steps along latents, in median distances of an activation from the mean of all."""

    n_tokens: Count = 256
    """Tokens at which plateaus and the dictionary's error are looked at."""

    n_after: Whole = 4
    """Tokens behind the edited one on which an effect is followed."""

    doses: Annotated[tuple[Dose, ...], Once, Field(min_length=1)] = (0.05, 0.5)
    """Divergences to which latents are steered, the mean over tokens, in nats."""

    others: Annotated[tuple[str, ...], Once] = ()
    """Runs of the same site with which latents are compared: other seeds, text, widths or ways to train. Left out, all
    that the workspace has."""

    batch_rows: BatchRows | None = None
    """Rows in a pass with gradients; left out, as many as there is memory for."""

    seed: Seed = 0
    """Seed of latents, tokens and directions, and of the tokens that are drawn from what the model predicts."""
