"""How the examples are run: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sparselex.base.bounds import Count, Once, Seed
from sparselex.base.config import Config

Example = Literal["unused", "manifold", "composition", "scaffolding", "superposed"]
"""Names of the examples, in the order of the post."""

LEAST_SEEDS = 5
"""Runs below which there are no intervals over them."""

N_UNITS, SPREAD = 10, 2
"""ReLU units of a small circuit, and neurons that each of them is spread over where circuits share neurons."""


class DoomedConfig(Config):
    """Run the examples of "Activation space interpretability may be doomed" (Chughtai and Bushnaq 2025).

    Five small models whose computation is known, so that what a dictionary of one layer's activations finds can be
    held against it: beside what is found with the help of gradients, and beside as many random directions. Nothing is
    downloaded. Killed and called again, it goes on where it was.
    """

    examples: Annotated[tuple[Example, ...], Once, Field(min_length=1)] = (
        "unused",
        "manifold",
        "composition",
        "scaffolding",
        "superposed",
    )
    """Examples to run."""

    n_seeds: int = Field(default=5, ge=1, le=50)
    """Times that each is run, with other models, data and dictionaries: the units of intervals, of which five are
    needed."""

    n_steps: Count = 800
    """Steps that each dictionary is trained."""

    batch_size: int = Field(default=256, ge=8, le=2**16)
    """Samples in a step."""

    net_steps: Count = 2000
    """Steps that the small models are trained."""

    n_held_out: int = Field(default=2048, ge=64, le=2**20)
    """Samples that are measured on; none of them is trained on."""

    n_draws: int = Field(default=200, ge=20, le=10**5)
    """Draws of as many random directions as a dictionary has live latents."""

    n_circuits: int = Field(default=40, ge=2, le=10_000)
    """Circuits that share neurons, in the last example; the post has 80,000."""

    n_neurons: int = Field(default=200, ge=N_UNITS * SPREAD, le=100_000)
    """Neurons that they share, ten units each; the post has 40,000."""

    seed: Seed = 0
    """Seed of everything that is drawn."""

    @property
    def shortened(self) -> list[str]:
        """What is less than by default, as options, such as `--n-seeds 3 instead of 5`; nothing of a full run."""
        less = lambda name: getattr(self, name) < DoomedConfig.model_fields[name].default
        return [
            f"--{name.replace('_', '-')} {getattr(self, name)} instead of {DoomedConfig.model_fields[name].default}"
            for name in QUICK
            if less(name)
        ]

    @model_validator(mode="after")
    def _shares(self) -> "DoomedConfig":
        if self.n_neurons >= N_UNITS * self.n_circuits:
            raise ValueError(
                f"n_neurons={self.n_neurons} hold n_circuits={self.n_circuits} of {N_UNITS} units without sharing any; "
                "lower n_neurons"
            )
        return self


QUICK: dict[str, Any] = {
    "n_seeds": 3,
    "n_steps": 200,
    "net_steps": 800,
    "n_held_out": 1024,
    "n_draws": 50,
    "n_circuits": 20,
    "n_neurons": 100,
}
"""What a first look takes: too short for the figures of the documentation, and without intervals."""
