"""Relations of latents, read side: memory maps, constant time by latent, no PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.features.records import CoactiveNeighbour, FollowingToken, Neighbour, NeuronCorrelation


class NeuronArrays(NamedTuple):
    """Coordinates of what is read that go with latents."""

    place: NDArray[np.integer]
    """`[d_sae, n]`, which, the one that correlates most first; -1 where there are fewer."""

    value: NDArray[np.floating]
    """`[d_sae, n]`, their correlations."""

    chance: NDArray[np.floating]
    """`[d_sae]`, the largest correlation with activations that were shifted to other tokens; NaN where it is not
    known."""


class Relations:
    """What `write_relations` wrote.

    Args:
        array: gives the array of a name, mapped.
        has: says whether there is one.
        n_sampled: tokens of the sample that co-activation was counted on.
    """

    def __init__(self, array: Callable[[str], NDArray], has: Callable[[str], bool], n_sampled: int):
        encoder = [array(f"encoder-neighbour{end}") for end in ("s", "-cosines")] if has("encoder-neighbours") else None
        self._encoder, self._n_sampled, self._in_text = encoder, n_sampled, has("coactive")
        if not self._in_text:  # of an index that keeps a sample of activations
            return
        self._coactive, self._both, self._active = map(array, ("coactive", "coactive-both", "sampled-active"))
        self._neurons, self._correlations = map(array, ("neurons", "neuron-correlations"))
        self._chance = array("neuron-chance") if has("neuron-chance") else None  # of an earlier version
        self._following, self._times, self._places = map(array, ("following", "following-times", "following-places"))
        self._base = array("token-shares")

    @property
    def neurons(self) -> NeuronArrays | None:
        """Coordinates of what is read that go with latents; None of an index that keeps a sample of activations."""
        if not self._in_text:
            return None
        chance = np.full(len(self._neurons), np.nan) if self._chance is None else self._chance
        return NeuronArrays(self._neurons, self._correlations, chance)

    @property
    def following(self) -> NDArray[np.integer] | None:
        """`[d_sae, n]` tokens that most tellingly follow each latent in training text, -1 where there are fewer; None
        of an index that keeps a sample of activations."""
        return self._following if self._in_text else None

    def fields(self, latent: int) -> dict[str, Any]:
        """The fields of a `FeatureRecord` that are relations."""
        encoder_neighbours = self._encoder_of(latent)
        if not self._in_text:
            return {
                "coactive": [],
                "encoder_neighbours": encoder_neighbours,
                "neurons": [],
                "neuron_chance": None,
                "following": [],
            }
        return {
            "coactive": self._coactive_of(latent),
            "encoder_neighbours": encoder_neighbours,
            "neurons": [
                NeuronCorrelation(neuron=int(neuron), correlation=float(r))
                for neuron, r in zip(self._neurons[latent], self._correlations[latent], strict=True)
                if neuron >= 0
            ],
            "neuron_chance": self._chance_of(latent),
            "following": self._following_of(latent),
        }

    def _chance_of(self, latent: int) -> float | None:
        chance = np.nan if self._chance is None else float(self._chance[latent])
        return None if np.isnan(chance) else chance

    def _coactive_of(self, latent: int) -> list[CoactiveNeighbour]:
        own = int(self._active[latent])
        return [
            CoactiveNeighbour(
                latent=int(other),
                n_both=int(both),
                share=int(both) / own,
                lift=int(both) * self._n_sampled / (own * int(self._active[other])),
            )
            for other, both in zip(self._coactive[latent], self._both[latent], strict=True)
            if other >= 0
        ]

    def _encoder_of(self, latent: int) -> list[Neighbour]:
        if self._encoder is None:
            return []
        others, cosines = (np.asarray(part[latent]).tolist() for part in self._encoder)
        return [Neighbour(latent=other, cosine=cosine) for other, cosine in zip(others, cosines, strict=True)]

    def _following_of(self, latent: int) -> list[FollowingToken]:
        n = int(self._places[latent])
        found = []
        for token, times in zip(self._following[latent], self._times[latent], strict=True):
            if token >= 0:
                share, base = int(times) / n, float(self._base[token])
                lift = share / base
                found.append(FollowingToken(token=int(token), n=int(times), share=share, base=base, lift=lift))
        return found
