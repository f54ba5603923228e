"""What a latent's direction is held against: directions drawn with the covariance of what is written there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.seeds import derive, generator
from sparselex.base.sites import Hook
from sparselex.causal.latents import Latents

N_DIRECTIONS = 4096
"""Directions from which each latent draws its own."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Random directions, of unit length at each of the places that are written."""

    at: Mapping[Hook, Float[Tensor, "n_directions d"]]
    """Of each hook."""

    @classmethod
    def drawn(cls, sample: Float[Tensor, "n width"], columns: Mapping[Hook, slice], seed: int) -> "Directions":
        """From the normal distribution with the covariance of a sample of all that is written, side by side: a sum of
        its deviations from their mean, each times a number drawn for it, has that covariance."""
        rng = torch.Generator().manual_seed(derive(seed, "effects", "directions"))
        sample = sample - sample.mean(0)
        n = min(N_DIRECTIONS, max(64, len(sample)))
        found = torch.zeros(n, sample.shape[1])
        for part in sample.split(_TOKENS):
            found += torch.randn(n, len(part), generator=rng) @ part
        return cls({hook: torch.nn.functional.normalize(found[:, where], dim=-1) for hook, where in columns.items()})

    def __len__(self) -> int:
        return len(next(iter(self.at.values())))

    def of(self, latent: int, n: int, seed: int) -> Int[Tensor, " n"]:
        """Numbers of the directions that a latent is held against: the same wherever it is looked at, since it has one
        direction itself."""
        rng = generator(seed, "effects", "directions of", latent)
        return torch.from_numpy(rng.choice(len(self), n, replace=len(self) < n))

    def vectors(
        self, latents: Latents, owner: Int[Tensor, " n"], sizes: Float[Tensor, " n"], which: Int[Tensor, " n"]
    ) -> dict[Hook, Float[Tensor, "n d"]]:
        """These directions, each as long at every hook as its owner is there at an activation of this size."""
        found = {}
        for hook in latents.written:
            lengths = latents.rows(owner, hook).norm(dim=-1).cpu() * sizes.abs()
            found[hook] = self.at[hook][which] * lengths[:, None]
        return found


def ablations(
    latents: Latents, owner: Int[Tensor, " n"], values: Float[Tensor, " n"]
) -> dict[Hook, Float[Tensor, "n d"]]:
    """What is added where each latent is taken away that has this activation."""
    return {hook: -values[:, None] * latents.rows(owner, hook).cpu() for hook in latents.written}


_TOKENS = 4096
"""Tokens of the sample at a time."""
