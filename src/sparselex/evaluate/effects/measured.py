"""The effects at every place: the model's predictions without a latent, with a random direction in its stead, and with
the latent where it is silent."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.causal.additions import Additions, can_be_apart, followed
from sparselex.causal.effects import check_finite
from sparselex.causal.latents import Latents
from sparselex.causal.predictions import changes
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.nulls import Directions, ablations
from sparselex.evaluate.effects.places import RANDOM, SILENT, TOP, Places
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel
from sparselex.text.rows import TokenRows

_LOGITS = 2**22
"""Logits that are held at a time: 16 MiB in float32, which is near what processors keep at hand."""

_ROUNDING = 1e-9
"""Divergences below are what rounding leaves of a difference of nothing, nats."""

_AT_TOP = 4
"""Random directions that are tried where a latent is most active, at each place: there their mean alone is told."""

_VERSIONS = 8192
"""Versions whose vectors are held at a time."""


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
    corpus, found = reader.corpus, AtPlaces.none(len(places.latent), config, model.n_vocab)
    rows = np.unique(places.position // corpus.n_ctx)
    kept = model.keep(reader.tokens(rows), latents.earliest)
    apart = can_be_apart(model, kept, latents.written)
    here = _Here(model, latents, directions, places, corpus, rows, kept, 0 if apart else config.n_after, apart)
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


class _Told(NamedTuple):
    """Of some versions, at the edited token and at those behind it."""

    divergence: NDArray[np.float32]
    """`[n, n_followed]`, nats; 0 beyond the text."""

    loss: NDArray[np.float32]
    """`[n, n_followed]`, nats; NaN where what comes is no text of the document."""

    tokens: NDArray[np.int32]
    """`[n, n_shown]`, at the edited token alone, like the rest."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]


class _Here(NamedTuple):
    """A few rows of the corpus, what is edited there, and how."""

    model: SubjectModel
    latents: Latents
    directions: Directions
    places: Places
    corpus: TokenRows
    rows: NDArray[np.int64]
    kept: Kept
    n_after: int
    apart: bool

    def changes(
        self, place: NDArray[np.int64], which: NDArray[np.int64] | None, n_shown: int
    ) -> Iterator[tuple[NDArray[np.int64], _Told, NDArray[np.bool_]]]:
        """What versions change, each at one of the places: numbers of some of them, what was found, and which tokens
        behind the edited one are of its text. They add the random direction `which`, or where that is None take the
        latent away (where it is silent, add it)."""
        column = self.places.position[place] % self.corpus.n_ctx
        order = np.lexsort((place, column))
        for part in np.split(order, np.arange(_VERSIONS, len(order), _VERSIONS)):
            made = self._additions(place[part], None if which is None else which[part])
            for numbers, last in followed(self.model, self.kept, made, self.n_after, apart=self.apart):
                yield from self._compared(part[numbers.numpy()], place, last, n_shown)

    def _additions(self, place: NDArray[np.int64], which: NDArray[np.int64] | None) -> Additions:
        owner, position = torch.from_numpy(self.places.latent[place]), self.places.position[place]
        values = torch.from_numpy(self.places.value[place])
        if which is None:
            sign = torch.from_numpy(np.where(self.places.kind[place] == SILENT, -1, 1).astype(np.float32))
            vectors = ablations(self.latents, owner, sign * values)
        else:
            vectors = self.directions.vectors(self.latents, owner, values, torch.from_numpy(which))
        row = np.searchsorted(self.rows, position // self.corpus.n_ctx)
        return Additions(torch.from_numpy(row), torch.from_numpy(position % self.corpus.n_ctx), vectors)

    def _compared(
        self, version: NDArray[np.int64], place: NDArray[np.int64], last: Float[Tensor, "n n_followed d"], n_shown: int
    ) -> Iterator[tuple[NDArray[np.int64], _Told, NDArray[np.bool_]]]:
        """Versions of one place are compared together: what is predicted there without them is formed once."""
        order = np.argsort(place[version], kind="stable")
        _, first, counts = np.unique(place[version][order], return_index=True, return_counts=True)
        most = max(1, _LOGITS // (self.model.n_vocab * last.shape[1]))
        for count in np.unique(counts):
            of = first[counts == count]
            for some in np.split(of, np.arange(max(1, most // count), len(of), max(1, most // count))):
                group = order[some[:, None] + np.arange(count)]  # [n_places, count]
                found, inside = self._told(place[version[group[:, 0]]], last[torch.from_numpy(group)], n_shown)
                yield version[group.reshape(-1)], found, np.repeat(inside, count, axis=0)

    def _told(
        self, place: NDArray[np.int64], last: Float[Tensor, "n m n_followed d"], n_shown: int
    ) -> tuple[_Told, NDArray[np.bool_]]:
        """`m` versions of each place, one after another."""
        (n, m, n_followed), device = last.shape[:3], last.device
        flat, inside, text_next = self._behind(place, n_followed)
        there = torch.from_numpy(inside).to(device)
        reference = self.kept.last.flatten(0, 1)[torch.from_numpy(flat[:, :-1][inside]).to(device)]
        targets = self.kept.tokens.flatten()[torch.from_numpy(flat[:, 1:][inside])]
        made = changes(self.model, reference, last.transpose(1, 2)[there], targets, n_shown)
        kl, loss = np.zeros((n, n_followed, m), np.float32), np.full((n, n_followed, m), np.nan, np.float32)
        kl[inside], loss[inside] = made.divergence.cpu().numpy(), made.loss.cpu().numpy()
        kl[kl < _ROUNDING] = 0
        if not np.isfinite(kl).all():
            check_finite(torch.full((1, 1), torch.nan))
        loss[~text_next] = np.nan
        own = np.cumsum(inside.sum(1)) - inside.sum(1)  # the edited token itself, which is always inside
        shown = (part.cpu().numpy()[own].reshape(n * m, -1) for part in made[2:])
        by_version = lambda values: values.transpose(0, 2, 1).reshape(n * m, n_followed)
        return _Told(by_version(kl), by_version(loss), *shown), inside

    def _behind(self, place: NDArray[np.int64], n: int) -> tuple[NDArray, NDArray, NDArray]:
        """Of `n` positions from each place on and the one behind: places in the kept rows; which of the `n` are of the
        same row and document as the first, and which of these have what comes next there too."""
        position, n_ctx = self.places.position[place], self.corpus.n_ctx
        row = np.searchsorted(self.rows, position // n_ctx)[:, None]
        columns = (position % n_ctx)[:, None] + np.arange(n + 1)
        within = columns.clip(max=n_ctx - 1)
        documents = np.asarray(self.corpus.documents[self.rows])[row, within]
        inside = np.logical_and.accumulate((columns < n_ctx) & (documents == documents[:, :1]), axis=1)
        return row * n_ctx + within, inside[:, :-1], inside[:, 1:]
