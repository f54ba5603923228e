"""Two sets of scores held against each other: the chance that one of the first is higher than one of the second, and
how far their medians lie apart."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparselex.base.estimates import interval_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import (
    LEAST_DOCUMENTS,
    LEAST_UNITS,
    Floats,
    Interval,
    Jackknife,
    median_interval,
    widened,
)

LOWEST = -np.inf
"""The score of a latent that has none, where every latent is to count."""

_EMPTY = "no latent of the one, or none of the other, has this score"
_NONE = float("nan")

Statistic = Callable[[Floats, Floats], float]
"""Of two sets of scores."""


class Sample(NamedTuple):
    """Scores of latents, higher being better."""

    values: Floats
    """`[n]`; `LOWEST` for a latent without one."""

    without: Floats | None = None
    """`[n_groups, n]`, the same without each of several equal groups of documents; None where that is not known."""


class Documents(NamedTuple):
    """The documents on which scores were measured."""

    n: float
    """Documents of one size that would tell as much."""

    paired: bool
    """Whether both sets of scores were measured on the same ones, in the same groups."""


def superiority(one: Floats, other: Floats) -> tuple[float, Floats, Floats]:
    """The chance that a random score of `one` is higher than a random one of `other`, equal ones counting half (Mann
    and Whitney 1947; the area under the ROC curve, and `(1 + δ) / 2` with Cliff's δ). With it the same chance of each
    single score: of `one` to be higher, and of `other` to be lower. NaN of nothing."""
    if not len(one) or not len(other):
        return _NONE, np.full(len(one), _NONE), np.full(len(other), _NONE)
    higher, lower = _share_below(one, other), 1 - _share_below(other, one)
    return float(higher.mean()), higher, lower


def _share_below(values: Floats, others: Floats) -> Floats:
    """`[n]`, which share of `others` lies below each value, equal ones counting half."""
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / (2 * len(ordered)))


def superiority_figure(name: str, one: Sample, other: Sample, words: str, documents: Documents | None) -> Figure:
    """`superiority` of two sets of latents as a figure, with a 95 % interval over the latents of both (DeLong, DeLong
    and Clarke-Pearson 1988) and, where `documents` are told, over these: a chance moves as the scores of both move."""
    value, higher, lower = superiority(one.values, other.values)
    moved = [_influences(part, value) for part in (higher, lower)]
    for part in _without_documents(one, other, documents, _chance):
        moved.append((part - value) * np.sqrt((len(part) - 1) / len(part)))
    n, effective = min(len(higher), len(lower)), _effective(len(higher), len(lower), documents)
    told = Jackknife(value, np.concatenate(moved), effective)
    found = _where_enough(told.interval(LEAST_UNITS, share=True), documents)
    return interval_figure(
        name,
        found,
        f"{words}; {_over(found, documents)}",
        over="latents",
        spread=(len(higher) + len(lower), effective, told.se),
        null=0.5,
        better="higher",
        n=len(higher) + len(lower) if n else 0,
        empty=_EMPTY,
    )


def difference_figure(name: str, one: Sample, other: Sample, words: str, documents: Documents | None) -> Figure:
    """The median of one set of scores less that of another, with a 95 % interval over latents from those of both
    medians (Donner and Zou 2012: each end by the squares of its parts) and over `documents` where these are told."""
    first, second = median_interval(one.values), median_interval(other.values)
    value = first.value - second.value
    low = value - float(np.hypot(first.value - first.low, second.high - second.value))
    high = value + float(np.hypot(first.high - first.value, second.value - second.low))
    found = Interval(value, low, high)
    for part in _without_documents(one, other, documents, _medians_apart):
        variance = float(np.square(part - value).sum() * (len(part) - 1) / len(part))
        found = widened(found, variance, len(part) - 1, share=False)
    found, n = _where_enough(found, documents), (len(one.values), len(other.values))
    return interval_figure(
        name,
        found,
        f"{words}; {_over(found, documents)}",
        over="latents",
        spread=(sum(n), _effective(*n, documents), (found.high - found.low) / (2 * 1.959964)),
        null=0.0,
        better="higher",
        n=sum(n) if min(n) else 0,
        empty=_EMPTY,
    )


def _influences(chances: Floats, value: float) -> Floats:
    """What the chance owes to each latent of one set, scaled as in `base.intervals.Jackknife`."""
    n = len(chances)
    return (chances - value) / np.sqrt(n * (n - 1)) if n > 1 else np.full(n, _NONE)


def _without_documents(one: Sample, other: Sample, documents: Documents | None, statistic: Statistic) -> list[Floats]:
    """The statistic without each group of documents: of both sets together where they share them, else of either while
    the other stays; nothing where that is not known."""
    if documents is None or one.without is None or other.without is None:
        return []
    if documents.paired:
        return [np.array([statistic(a, b) for a, b in zip(one.without, other.without, strict=True)])]
    first = np.array([statistic(a, other.values) for a in one.without])
    return [first, np.array([statistic(one.values, b) for b in other.without])]


def _chance(one: Floats, other: Floats) -> float:
    return superiority(_known(one), _known(other))[0]


def _medians_apart(one: Floats, other: Floats) -> float:
    return float(np.median(_known(one)) - np.median(_known(other)))


def _known(values: Floats) -> Floats:
    """Those that can be formed without a group of documents: one that cannot moves none of the others."""
    return np.asarray(values[~np.isnan(values)])


def _effective(n: int, n_other: int, documents: Documents | None) -> float:
    return float(min(n, n_other, documents.n) if documents else min(n, n_other))


def _where_enough(found: Interval, documents: Documents | None) -> Interval:
    enough = documents is None or documents.n >= LEAST_DOCUMENTS
    return found if enough else Interval(found.value, _NONE, _NONE)


def _over(found: Interval, documents: Documents | None) -> str:
    if not np.isfinite(found.low):
        return "no interval: too few latents or documents, or all of them at the end of the scale"
    if documents is None:
        return "95 % interval over the latents of both"
    return f"95 % interval over the latents of both and over documents, {'the same' if documents.paired else 'others'}"
