"""How dictionary types are ranked on known features: a configuration that can be read without loading PyTorch."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from sparselex.activations.known.config import KnownConfig
from sparselex.base.bounds import Count, Once, Tokens
from sparselex.dictionaries.kinds import Kind


class SyntheticConfig(KnownConfig):
    """Rank dictionary types on a synthetic set whose features are all known.

    Every type is trained on the same activations at the same number of active latents, with several seeds, and measured
    on held-out samples against the true features; beside it stand the truth itself, coded by pursuit, and random
    directions."""

    kinds: Annotated[tuple[Kind, ...], Once] = Field(default=(), max_length=100)
    """Types to train; left out, every registered one that can be an autoencoder of one site."""

    d_sae: int = Field(default=1024, ge=2, le=2**20)
    """Latents of each dictionary."""

    k: Count | None = None
    """Active latents of a token, for types that are told; others are brought there by their coefficient. Left out,
    the rounded `l0`."""

    n_tokens: Tokens = 500_000
    """Tokens that each dictionary is trained on."""

    batch_size: int = Field(default=512, ge=1, le=2**20)
    """Tokens in a step."""

    n_seeds: int = Field(default=3, ge=1, le=20)
    """Dictionaries of each type, which differ in the seed of their weights."""

    n_coefficients: int = Field(default=3, ge=2, le=10)
    """Coefficients tried for a type that takes one, spaced by factors of three around its default, each with a whole
    training; the one used lies between those whose L0 is nearest."""

    n_samples: int = Field(default=16, ge=5, le=10_000)
    """Held-out samples, the units of intervals."""

    sample_tokens: int = Field(default=2048, ge=1, le=2**20)
    """Tokens in each of them."""

    least_oracle: float = Field(default=0.8, ge=0, le=1)
    """F1 that the true directions must reach, coded by pursuit at the true L0: below it the set is not recoverable, and
    nothing is ranked."""

    @property
    def active(self) -> int:
        """Active latents that types are told."""
        return self.k or max(1, round(self.l0))

    @model_validator(mode="after")
    def _latents_suffice(self) -> "SyntheticConfig":
        if self.active > self.d_sae:
            raise ValueError(
                f"k={self.active} latents per token cannot be kept of d_sae={self.d_sae}; lower k or raise d_sae"
            )
        return self


QUICK: dict[str, Any] = {
    "d_in": 64,
    "n_features": 512,
    "l0": 5.0,
    "n_trees": 12,
    "depth": 1,
    "n_groups": 8,
    "group_size": 4,
    "d_sae": 256,
    "n_tokens": 60_000,
    "batch_size": 256,
    "n_samples": 8,
}
"""A set of a minute, for a first look."""
