"""The effects at every place: the model's predictions without a latent, with a random direction in its stead, and with
the latent where it is silent."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.sites import Hook
from sparselex.causal.latents import Latents
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.nulls import Directions, ablations
from sparselex.evaluate.effects.places import RANDOM, SILENT, TOP, Places
from sparselex.evaluate.versions import Told, Versions
from sparselex.lm.subject import SubjectModel

_AT_TOP = 4
"""Random directions that are tried where a latent is most active, at each place: there their mean alone is told."""


class AtPlaces(NamedTuple):
    """What was measured at some places; later tokens are those behind the edited one in its row and document."""

    kl: NDArray[np.float32]
    """`[n]`, KL divergence at the token itself, nats."""

    kl_later: NDArray[np.float32]
    """`[n]`, the same summed over the later tokens."""

    n_later: NDArray[np.int32]
    """`[n]`, how many these are."""

    loss: NDArray[np.float32]
    """`[n]`, how much the cross-entropy of what comes next rises; NaN where that is no text of the document."""

    loss_later: NDArray[np.float32]
    """`[n]`, the same summed over later tokens."""

    directions: NDArray[np.float32]
    """`[n, n_directions]`, `kl + kl_later` of each random direction; NaN where none was tried."""

    tokens: NDArray[np.int32]
    """`[n, n_shown]`, the next tokens whose probabilities change most."""

    before: NDArray[np.float32]
    """`[n, n_shown]`, their probabilities."""

    after: NDArray[np.float32]
    """`[n, n_shown]`, and those under the edit."""

    @staticmethod
    def none(n: int, config: EffectsConfig, n_vocab: int) -> "AtPlaces":
        """Room for those of `n` places."""
        shown = (n, min(config.n_shown, n_vocab))
        numbers = lambda *shape: np.zeros(shape, np.float32)
        nan = lambda *shape: np.full(shape, np.nan, np.float32)
        whole = lambda *shape: np.zeros(shape, np.int32)
        return AtPlaces(
            numbers(n),
            numbers(n),
            whole(n),
            nan(n),
            numbers(n),
            nan(n, config.n_directions),
            whole(*shown),
            numbers(*shown),
            numbers(*shown),
        )

    @property
    def total(self) -> NDArray[np.float32]:
        """`[n]`, KL divergence at the token and at the later ones."""
        return self.kl + self.kl_later


@torch.no_grad()
def measured(
    reader: Reader, model: SubjectModel, latents: Latents, places: Places, directions: Directions, config: EffectsConfig
) -> AtPlaces:
    """The effects at these places, all of them in a few rows of the corpus. Raises `UserError` where one leaves the
    model without finite numbers."""
    found = AtPlaces.none(len(places.latent), config, model.n_vocab)
    rows = np.unique(places.position // reader.corpus.n_ctx)
    written = (latents.earliest, *(hook for hook in latents.written if hook != latents.earliest))
    here = _Here(latents, directions, places, Versions.of(reader, model, rows, written, config.n_after))
    every = np.arange(len(places.latent))
    for place, own, inside in here.changes(every, None, found.tokens.shape[1]):
        kl, loss = own.divergence, own.loss
        found.kl[place], found.kl_later[place] = kl[:, 0], kl[:, 1:].sum(1)
        found.n_later[place] = inside[:, 1:].sum(1)
        found.loss[place], found.loss_later[place] = loss[:, 0], np.nansum(loss[:, 1:], axis=1)
        found.tokens[place], found.before[place], found.after[place] = own.tokens, own.before, own.after
    place, number = _tried(places, config)
    which = _which(places, place, number, directions, config)
    for version, drawn, _ in here.changes(place, which, 0):
        found.directions[place[version], number[version]] = drawn.divergence.sum(1)
    return found


def _tried(places: Places, config: EffectsConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places at which random directions are tried, and which of its latent's own each time."""
    parts = [(np.flatnonzero(places.kind == kind), n) for kind, n in ((RANDOM, config.n_directions), (TOP, _AT_TOP))]
    return (
        np.concatenate([np.repeat(there, n) for there, n in parts]),
        np.concatenate([np.tile(np.arange(n), len(there)) for there, n in parts]),
    )


def _which(
    places: Places, place: NDArray[np.int64], number: NDArray[np.int64], directions: Directions, config: EffectsConfig
) -> NDArray[np.int64]:
    """Those among all random directions."""
    latents, row = np.unique(places.latent[place], return_inverse=True)
    drawn = [directions.of(int(latent), config.n_directions, config.seed).numpy() for latent in latents]
    return np.array(drawn, dtype=np.int64).reshape(len(latents), config.n_directions)[row, number]


class _Here(NamedTuple):
    """What is edited in a few rows, and how."""

    latents: Latents
    directions: Directions
    places: Places
    versions: Versions

    def changes(
        self, place: NDArray[np.int64], which: NDArray[np.int64] | None, n_shown: int
    ) -> Iterator[tuple[NDArray[np.int64], Told, NDArray[np.bool_]]]:
        """What versions change, each at one of the places. They add the random direction `which`, or where that is None
        take the latent away (where it is silent, add it)."""

        def vectors(part: NDArray[np.int64]) -> Mapping[Hook, Tensor]:
            here = self.places.of(place[part])
            owner, values = torch.from_numpy(here.latent), torch.from_numpy(here.value)
            if which is not None:
                return self.directions.vectors(self.latents, owner, values, torch.from_numpy(which[part]))
            sign = torch.from_numpy(np.where(here.kind == SILENT, -1, 1).astype(np.float32))
            return ablations(self.latents, owner, sign * values)

        yield from self.versions.told(self.places.position[place], vectors, n_shown)
