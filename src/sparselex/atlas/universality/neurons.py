"""Neurons of two models, and latents among them: two passes over batches of activations, one that chooses and one that
judges. Where the site is no MLP's hidden layer, its coordinates stand in for neurons."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.universality.latents import Columns, Nearest
from sparselex.atlas.universality.pairs import Correlations, Moments, correlations, moments
from sparselex.base.intervals import Floats


class Activity(NamedTuple):
    """What both models are on some tokens, which follow those of the batch before."""

    a: NDArray[np.float32]
    """`[n, d_a]`."""

    b: NDArray[np.float32]
    """`[n, d_b]`."""


class Neurons(NamedTuple):
    """What is nearest to what."""

    neurons: Nearest
    """Of each neuron of the one model the nearest neuron of the other."""

    neurons_null: Nearest
    """The same with the other model's activations moved to other tokens."""

    to_latents: Nearest
    """Of each neuron of the one model the nearest latent of the other run, of those that were compared."""

    of_latents: Nearest
    """Of each latent of the one run that was compared the nearest neuron of the other model."""


class _Sums:
    """Sums over tokens of the numbers, the squares and the products of two sides."""

    def __init__(self, n_left: int, n_right: int):
        self.n, self.xy = 0, np.zeros((n_left, n_right))
        self.left, self.right = np.zeros((2, n_left)), np.zeros((2, n_right))

    def add(self, left: NDArray[np.float32] | csr_array, right: NDArray[np.float32]) -> None:
        """Take tokens, `[n, n_left]` and `[n, n_right]`."""
        self.n += len(right)
        self.xy += left.T @ right
        self.left += _two(left)
        self.right += _two(right)

    def correlation(self) -> NDArray[np.float32]:
        """`[n_left, n_right]`; 0 where one of the two does not vary."""
        mean, other = self.left[0] / self.n, self.right[0] / self.n
        spread, others = (
            np.sqrt((two[1] / self.n - (two[0] / self.n) ** 2).clip(0)) for two in (self.left, self.right)
        )
        scale = np.outer(spread, others)
        found = np.divide(
            self.xy / self.n - np.outer(mean, other), scale, out=np.zeros_like(scale), where=scale > 1e-12
        )
        return found.astype(np.float32)


def _two(values: NDArray[np.float32] | csr_array) -> Floats:
    """`[2, n]`, sums of numbers and of their squares."""
    square = values.multiply(values) if isinstance(values, csr_array) else values.astype(np.float64) ** 2
    return np.stack([np.asarray(one.sum(axis=0, dtype=np.float64)).reshape(-1) for one in (values, square)])


def moved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same rows half a batch on, around its end: those of other documents."""
    return np.roll(values, max(1, len(values) // 2), axis=0)


class Choosing:
    """Takes batches of the tokens on which matches are chosen."""

    def __init__(self, a: Columns, b: Columns, d_a: int, d_b: int):
        self._a, self._b = a.chosen.T.tocsr(), b.chosen.T.tocsr()
        self._neurons, self._null = _Sums(d_a, d_b), _Sums(d_a, d_b)
        self._of_latents, self._to_latents = _Sums(len(a.kept), d_b), _Sums(len(b.kept), d_a)
        self.signed = False
        """Whether what was read is negative anywhere: a coordinate and its opposite are then one."""

    def add(self, batch: Activity) -> None:
        """Take the tokens behind those of the batch before."""
        there = slice(self._neurons.n, self._neurons.n + len(batch.a))
        self._neurons.add(batch.a, batch.b)
        self._null.add(batch.a, moved(batch.b))
        self._of_latents.add(self._a[there], batch.b)
        self._to_latents.add(self._b[there], batch.a)
        self.signed |= bool((batch.a < 0).any() or (batch.b < 0).any())

    def finish(self) -> "Chosen":
        """What is nearest, and how near."""
        best = lambda found: _best(np.abs(found) if self.signed else found)
        return Chosen(
            neurons=best(self._neurons.correlation()),
            null=best(self._null.correlation()),
            to_latents=best(self._to_latents.correlation().T),
            of_latents=best(self._of_latents.correlation()),
            signed=self.signed,
        )


class _Best(NamedTuple):
    match: NDArray[np.int64]
    value: Floats


class Chosen(NamedTuple):
    """What was chosen, and how near it was."""

    neurons: _Best
    null: _Best
    to_latents: _Best
    of_latents: _Best
    signed: bool


def _best(found: NDArray[np.float32]) -> _Best:
    match = found.argmax(axis=1)
    value = np.take_along_axis(found, match[:, None], axis=1)[:, 0].astype(np.float64)
    return _Best(np.where(value > 0, match, -1), value.clip(min=0))


class Judging:
    """Takes batches of the tokens on which matches are judged."""

    def __init__(self, chosen: Chosen, a: Columns, b: Columns, groups: NDArray[np.int64], n_groups: int):
        self._chosen, self._groups, self._n_groups, self._n = chosen, groups, n_groups, 0
        self._a, self._b = a.judged.T.tocsr(), b.judged.T.tocsr()
        self._latents = moments(a.judged, groups, n_groups), moments(b.judged, groups, n_groups)
        self._sums: dict[str, Floats] = {}

    def add(self, batch: Activity) -> None:
        """Take the tokens behind those of the batch before."""
        there = slice(self._n, self._n + len(batch.a))
        self._n += len(batch.a)
        group = self._groups[there]
        ones = (group[:, None] == np.arange(self._n_groups)).T.astype(np.float32)
        a, b, chosen = batch.a, batch.b, self._chosen
        away, latents = moved(b), self._b[there]
        for name, values in (("a", a), ("b", b), ("away", away)):
            self._add(name, ones @ values)
            self._add(f"{name}²", ones @ values**2)
        self._add("neurons", ones @ (a * b[:, chosen.neurons.match]))
        self._add("null", ones @ (a * away[:, chosen.null.match]))
        wanted = chosen.to_latents.match.clip(min=0)
        self._add("to latents", ones @ (a * latents[:, wanted].toarray()))
        own = self._a[there].tocoo()
        product = own.data * b[own.row, chosen.of_latents.match.clip(min=0)[own.col]]
        n = own.shape[1]
        summed = np.bincount(group[own.row] * n + own.col, product, self._n_groups * n)
        self._add("of latents", summed.reshape(self._n_groups, n))

    def finish(self) -> Neurons:
        """How near matches are here."""
        neurons, away = (Moments(self._sums[name], self._sums[f"{name}²"]) for name in ("b", "away"))
        own = Moments(self._sums["a"], self._sums["a²"])
        return Neurons(
            neurons=self._nearest(self._chosen.neurons, own, neurons, "neurons"),
            neurons_null=self._nearest(self._chosen.null, own, away, "null"),
            to_latents=self._nearest(self._chosen.to_latents, own, self._latents[1], "to latents"),
            of_latents=self._nearest(self._chosen.of_latents, self._latents[0], neurons, "of latents"),
        )

    def _add(self, name: str, values: NDArray) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + values.astype(np.float64)

    def _nearest(self, best: _Best, own: Moments, other: Moments, name: str) -> Nearest:
        n = np.bincount(self._groups, minlength=self._n_groups).astype(np.float64)
        there = best.match >= 0
        pair = other.at(best.match.clip(min=0))
        pair = Moments(np.where(there, pair.x, 0.0), np.where(there, pair.xx, 0.0))
        found: Correlations = correlations(n, own, pair, np.where(there, self._sums[name], 0.0))
        return Nearest(best.match, best.value, found.size() if self._chosen.signed else found)


def match_neurons(
    choosing: Iterable[Activity],
    judging: Iterable[Activity],
    a: Columns,
    b: Columns,
    widths: tuple[int, int],
    groups: NDArray[np.int64],
    n_groups: int,
) -> Neurons:
    """Nearest neurons and latents of two models.

    Args:
        choosing: activations of both models on the tokens on which matches are chosen, in their order.
        judging: the same on those on which they are judged.
        a: the latents of the one run on the same tokens.
        b: those of the other.
        widths: how many neurons either model has.
        groups: `[n_tokens]`, the group of documents of each token on which matches are judged.
        n_groups: how many groups there are.
    """
    first = Choosing(a, b, *widths)
    for batch in choosing:
        first.add(batch)
    second = Judging(first.finish(), a, b, groups, n_groups)
    for batch in judging:
        second.add(batch)
    return second.finish()
