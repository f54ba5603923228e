"""How proxies are measured: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.atlas.proxies.shipped import PROXIES
from sparselex.base.bounds import Count, Seed, Whole
from sparselex.base.config import Config
from sparselex.base.known import Among


class HowMeasured(Config):
    """How the features that carry a concept are looked for and judged."""

    n_carriers: Annotated[int, Field(gt=0, le=100)] = 10
    """Features of each concept that are listed, those whose activations correlate with it most on training tokens."""

    n_siblings: Annotated[int, Field(ge=0, le=20)] = 5
    """Features that are added to the first, each where all before are silent ..."""

    least_inside: Annotated[float, Field(gt=0, le=1)] = 0.5
    """... of those of whose activation so much lies inside the concept, on training tokens."""

    n_intervals: Annotated[int, Field(gt=0, le=50)] = 10
    """Equal intervals of activation, from 0 to the largest on training tokens."""

    n_shifts: Annotated[int, Field(gt=0, le=20)] = 3
    """Times that the concept is moved along the text, by a third to two thirds of it: what the best feature for it is
    by chance."""

    n_random: Annotated[int, Field(gt=0, le=1000)] = 20
    """Random latents of about the density of each sibling that it is held against."""

    least_active: Count = 10
    """Training tokens on which a feature is active at the fewest."""

    neuron_rows: Whole = 1000
    """Rows of each of both splits in which the model is read for what its neurons make of it, spread evenly over those
    that were indexed; 0 leaves neurons out."""

    seed: Seed = 0
    """Seed of all that is drawn."""


class ProxiesConfig(HowMeasured):
    """Which concepts are looked for, and how."""

    proxies: tuple[Annotated[str, Among(PROXIES)], ...] = ()
    """Names of proxies; left out, all that there are, and each script that occurs in the text."""

    least_train: Count = 50
    """Training tokens that must be inside a concept ..."""

    least_test: Count = 20
    """... and test tokens."""

    n_sampled: Annotated[int, Field(gt=0, le=100)] = 5
    """Features that are drawn at random to stand beside as many of the best."""


class Looked(Config):
    """What was looked for, and how: the configuration of such an artifact."""

    rule: dict[str, Any]
    """The rule, as JSON values."""

    how: HowMeasured
    """How its features were measured."""
