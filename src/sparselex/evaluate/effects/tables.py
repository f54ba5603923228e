"""From effects at places to a row for each latent."""

import math
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata

from sparselex.base.intervals import Floats, effective_units, even_groups
from sparselex.evaluate.effects.config import LEVEL
from sparselex.evaluate.effects.measured import AtPlaces
from sparselex.evaluate.effects.places import INTERVAL, RANDOM, SILENT, TOP, Places
from sparselex.evaluate.latents import N_GROUPS
from sparselex.text.rows import TokenRows


class Grid(NamedTuple):
    """Values at the places of one kind, a row for each latent; NaN where it has fewer."""

    values: Floats
    """`[n_latents, n_places]`."""

    groups: NDArray[np.int64]
    """`[n_latents, n_places]`, the group of documents that each place is in; -1 where there is none."""

    def without(self, group: int) -> Floats:
        """The values without those of a group of documents."""
        return np.where(self.groups == group, np.nan, self.values)


class Measured(NamedTuple):
    """All effects of some latents, as rows."""

    latents: NDArray[np.int64]
    """`[n_latents]`, ascending."""

    places: Places
    effects: AtPlaces
    groups: NDArray[np.int64]
    """`[n_places]`, the group of documents of each place."""

    n_documents: float
    """Documents of one size that would tell as much."""

    @staticmethod
    def of(places: Places, effects: AtPlaces, corpus: TokenRows) -> "Measured":
        """Effects at places of a corpus."""
        owners = np.asarray(corpus.documents).reshape(-1)[places.position]
        owner = np.unique(owners, return_inverse=True)[1]
        sizes = np.bincount(owner)
        groups = even_groups(sizes, N_GROUPS)[owner]
        return Measured(np.unique(places.latent), places, effects, groups, effective_units(sizes))

    def grid(self, kind: int, values: NDArray) -> Grid:
        """Values of the places of one kind."""
        here = np.flatnonzero(self.places.kind == kind)
        row = np.searchsorted(self.latents, self.places.latent[here])
        column = np.arange(len(here)) - np.searchsorted(row, np.arange(len(self.latents)))[row]
        shape = (len(self.latents), int(column.max(initial=-1)) + 1)
        found, groups = np.full(shape, np.nan), np.full(shape, -1)
        found[row, column], groups[row, column] = values[here], self.groups[here]
        return Grid(found, groups)

    def grids(self, kind: int, values: NDArray) -> list[Grid]:
        """One for each column of `[n_places, m]` values."""
        return [self.grid(kind, values[:, number]) for number in range(values.shape[1])]


def table(found: Measured) -> dict[str, NDArray]:
    """The columns of `records.COLUMNS`."""
    of, total = found.effects, found.effects.total
    at_random = found.grid(RANDOM, total).values
    specific = larger(at_random, found.grid(SILENT, total).values)
    directions = np.stack([mean(one.values) for one in found.grids(RANDOM, of.directions)])
    silent = found.grid(SILENT, total).values
    effect, half = mean(at_random), _half_width(at_random)
    return {
        "latent": found.latents,
        "n": np.isfinite(at_random).sum(1),
        "effect": effect,
        "effect_low": effect - half,
        "effect_high": effect + half,
        "kl": mean(found.grid(RANDOM, of.kl).values),
        "kl_later": mean(found.grid(RANDOM, of.kl_later).values),
        "loss": mean(found.grid(RANDOM, of.loss).values),
        "loss_later": mean(found.grid(RANDOM, of.loss_later).values),
        "null": directions.mean(0),
        "null_95": np.quantile(directions, 1 - LEVEL, axis=0, method="inverted_cdf"),
        "used": used(effect, directions),
        "top": mean(found.grid(TOP, total).values),
        "top_null": mean(found.grid(TOP, mean(of.directions.astype(np.float64))).values),
        "n_silent": np.isfinite(silent).sum(1),
        "silent": mean(silent),
        "n_pairs": specific.n,
        "specific": specific.told,
        "dose": _dose(found.grid(INTERVAL, found.places.value), found.grid(INTERVAL, total)),
    }


def mean(values: Floats) -> Floats:
    """`[n_latents]`, over the places that each has; NaN where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=1)


def used(effect: Floats, directions: Floats) -> NDArray[np.bool_]:
    """Whether each latent's effect is among the largest 5 % of its own and those of its random directions
    `[n_directions, n_latents]`, each of which would be as likely to be there if the latent were one of them (a Monte
    Carlo test; Barnard 1963). Never where nothing was measured."""
    return np.isfinite(effect) & ((1 + (directions >= effect).sum(0)) / (1 + len(directions)) <= LEVEL + 1e-9)


def chance_of_used(n_directions: int) -> float:
    """How probable it is that `used` says so of a direction that is one of the random ones: 5 % only where a twentieth
    of all of them is a whole number."""
    return math.floor(LEVEL * (1 + n_directions) + 1e-9) / (1 + n_directions)


class Larger(NamedTuple):
    """Whether the first of each pair is larger, of several latents."""

    told: NDArray[np.bool_]
    """`[n_latents]`."""

    n: NDArray[np.int64]
    """`[n_latents]`, pairs of which both halves are there."""

    chance: Floats
    """`[n_latents]`, how probable it is to be told so where both halves are of one distribution: the largest
    probability of at most 5 % that so many ranks have, and 0 with fewer than five pairs, which tell nothing."""


def larger(ones: Floats, others: Floats) -> Larger:
    """Whether the values of `[n_latents, n_places]` are larger than those they are paired with, the other's of the same
    column: signed ranks, one side, exactly (Wilcoxon 1945). A difference of 0 counts against it, and so does the one
    that is below 0 of two of one size; columns that only one of both has are left out."""
    n = min(ones.shape[1], others.shape[1])
    apart = ones[:, :n] - others[:, :n]
    there = np.isfinite(apart)
    size = np.where(there, np.abs(apart), np.inf)
    rank = np.empty(apart.shape, dtype=np.int64)
    np.put_along_axis(rank, np.lexsort((apart <= 0, size), axis=1), np.arange(1, n + 1)[None, :], axis=1)
    of_pairs, above = there.sum(1), np.where(there & (apart > 0), rank, 0).sum(1)
    least, chance = (np.array(column) for column in zip(*map(_least_sum, range(n + 1)), strict=True))
    return Larger(above >= least[of_pairs], of_pairs, chance[of_pairs])


@cache
def _least_sum(n: int) -> tuple[int, float]:
    """The least sum of the ranks of `n` pairs' positive differences that chance reaches with a probability of at most
    `LEVEL`, and this probability; a sum that there is not, and 0, where even all of them are not so rare."""
    ways = np.ones(1)
    for rank in range(1, n + 1):
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    tail = ways[::-1].cumsum()[::-1] / ways.sum()
    rare = np.flatnonzero(tail <= LEVEL)
    return (int(rare[0]), float(tail[rare[0]])) if len(rare) else (len(ways), 0.0)


def _half_width(values: Floats) -> Floats:
    """Half the 95 % interval of the mean of each row, by Student's t; NaN with fewer than five values."""
    n = np.isfinite(values).sum(1)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        se = np.nanstd(values, axis=1, ddof=1) / np.sqrt(n)
    return np.where(n >= 5, stdtrit(np.maximum(1, n - 1), 0.975) * se, np.nan)


def _dose(sizes: Grid, effects: Grid) -> Floats:
    """Rank correlation of both in each row, equal values of one rank (their mean); NaN with fewer than three places,
    and where all sizes or all effects are one: of a latent without any effect nothing is correlated."""
    ranks = [rankdata(values, axis=1, nan_policy="omit") for values in (np.abs(sizes.values), effects.values)]
    n = np.isfinite(ranks[0]).sum(1)
    one, other = (rank - mean(rank)[:, None] for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.nansum(one * other, 1) / np.sqrt(np.nansum(one**2, 1) * np.nansum(other**2, 1))
    return np.where(n >= 3, found, np.nan)
