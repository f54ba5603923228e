"""Which latents are ablated, and where: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.bounds import BatchRows, Count, Drawn, Listed, Once, Seed, Whole
from sparselex.base.config import Config
from sparselex.dictionaries.kinds import Control

LEVEL = 0.05
"""Share of latents that exceed a null by chance."""

LEAST_DIRECTIONS = 19
"""Random directions of which a latent's effect is the largest by chance once in twenty times."""


class EffectsConfig(Config):
    """Which latents are ablated, where, and what they are held against."""

    latents: Count | None = None
    """Latents that are measured, drawn from those that are active on test documents; `none`, all of these."""

    n_rows: Count = 600
    """Rows of the test split in which places are looked for, spread over it; of a long document no more than twice its
    even share."""

    n_top: Drawn = 4
    """Places of each latent where it is most active, at most one a row, like all that follow."""

    n_random: Annotated[int, Field(ge=2, le=100)] = 8
    """Places drawn at random from all at which it is active; what lists, tests and the report say is of these."""

    n_intervals: Drawn = 5
    """Equal ranges of activation, from each of which one place is drawn."""

    n_silent: Drawn = 8
    """Places where it is silent, at which its direction is added as strongly as it is at the places drawn at random,
    one after another: each is held against the one that it is as strong as."""

    n_directions: Annotated[int, Field(ge=LEAST_DIRECTIONS, le=999)] = LEAST_DIRECTIONS
    """Random directions in its place, drawn with the covariance of the activations, each as large as what the latent
    adds there; at its top and random places."""

    n_after: Whole = 8
    """Tokens behind the one that is edited on which the effect is followed."""

    n_shown: Listed = 5
    """Next tokens kept of each place, those whose probability changes most."""

    controls: Annotated[tuple[Control, ...], Once] = ("neurons",)
    """Control dictionaries measured beside it, with as many active directions on each token."""

    control_latents: Listed = 256
    """Directions of each that are drawn for that."""

    pursuit_steps: Listed = 8
    """Steps in which a control whose directions overlap takes those of a token, as in `evaluate`."""

    batch_rows: BatchRows | None = None
    """Rows whose passes are kept at a time; left out, as many as there is memory for, 32 at most."""

    seed: Seed = 0
    """Seed of latents, places and directions that are drawn."""
