"""Figures of a pair beside its controls, from sums by document."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sparselex.base.estimates import Estimate, estimate, interval_figure
from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, Interval, difference
from sparselex.evaluate.core_figures import core_estimates
from sparselex.evaluate.metrics import SiteSums
from sparselex.evaluate.model_features.jacobian import HELD
from sparselex.evaluate.pairs.measured import COLUMNS, Sums
from sparselex.evaluate.pairs.records import ARMS, PENALISED, PLAIN, RANDOM, THRESHOLDS

_CORE = ("fvu", "ce_increase")
"""Metrics of a reconstruction."""

SITES = ("x", "y")
"""What the MLP reads, and what it writes."""

_SHUFFLED = "; null: what latents write before the MLP exchanged among them"

_OF = "of the Jacobian between latents active before the MLP and those active behind it, each token's of length 1"


class Measured(NamedTuple):
    """What was summed of one pair."""

    jacobians: Sums
    """Its Jacobians."""

    sites: list[SiteSums]
    """Its reconstructions, at either site."""

    at_mean: list[SiteSums]
    """Those of the mean of the site, which knows nothing of a token."""


class _Of(NamedTuple):
    """One figure of Jacobians."""

    words: str
    statistic: Callable[[Floats], Floats]
    better: Better
    share: bool = False


def _column(name: str) -> int:
    return COLUMNS.index(name)


def _per(name: str, of: str) -> Callable[[Floats], Floats]:
    return lambda s: s[..., _column(name)] / s[..., _column(of)]


def _kurtosis(s: Floats) -> Floats:
    n, s1, s2, s3, s4 = (s[..., _column(name)] for name in ("entries", "s1", "s2", "s3", "s4"))
    mean = s1 / n
    variance = s2 / n - mean**2
    fourth = s4 / n - 4 * mean * s3 / n + 6 * mean**2 * s2 / n - 3 * mean**4
    return np.asarray(fourth / variance**2)


_JACOBIAN = {
    **{
        f"jacobian_above_{one:g}": _Of(
            f"share of entries {_OF}, that are larger than {one:g}", _per(f"above {one:g}", "entries"), "lower", True
        )
        for one in THRESHOLDS
    },
    "jacobian_kurtosis": _Of(f"kurtosis of the entries {_OF} (3 of a normal distribution)", _kurtosis, "higher"),
    "jacobian_edges": _Of(
        f"share of a token's entries that hold {HELD:.0%} of the sum of their sizes, {_OF}; mean over tokens",
        _per("held", "tokens"),
        "lower",
        True,
    ),
    "jacobian_size": _Of(
        "mean size of entries of the Jacobian between latents active before the MLP and those active behind it, in "
        "units in which both sites have E|x|² = width: what the penalty is on",
        _per("size", "entries"),
        "lower",
    ),
    "x/l0": _Of("mean number of active latents before the MLP", _per("x", "tokens"), ""),
    "y/l0": _Of("mean number of active latents behind the MLP", _per("y", "tokens"), ""),
}


def pair_figures(arms: Mapping[str, Measured]) -> list[Figure]:
    """Every figure of the penalised pair with those of the others beside it, and what it gains over the one without the
    penalty and over the one on random weights, on the same documents."""
    found = {name: dict(_estimates(one)) for name, one in arms.items()}
    own = found.pop(PENALISED)
    figures = []
    for name, one in own.items():
        values = {ARMS[arm]: other[name].figure.value for arm, other in found.items()}
        controls = {words: value for words, value in values.items() if value is not None}
        figures.append(one.figure.model_copy(update={"controls": controls}))
    asked = [name for name in own if not name.endswith("/l0")]
    figures += [_less(f"pair/gained/{name}", own[name], found[PLAIN][name], PLAIN) for name in asked]
    # What a model loses that has learned nothing is no question.
    asked = [name for name in asked if name.startswith("jacobian")]
    return figures + [_less(f"pair/learned/{name}", own[name], found[RANDOM][name], RANDOM) for name in asked]


def _estimates(one: Measured) -> Iterator[tuple[str, Estimate]]:
    own, shuffled = one.jacobians
    tokens = own[:, _column("tokens")]
    for name, of in _JACOBIAN.items():
        null = None if name.endswith("/l0") else _value(of, shuffled)
        yield (
            name,
            estimate(
                f"pair/{name}",
                own,
                of.statistic,
                f"{of.words}{'' if null is None else _SHUFFLED}",
                over="documents",
                sizes=tokens,
                least=LEAST_DOCUMENTS,
                share=of.share,
                n=int(tokens.sum()),
                null=null,
                better=of.better,
                empty="no token had an entry that is not 0",
            ),
        )
    for site, sums, at_mean in zip(SITES, one.sites, one.at_mean, strict=True):
        for name, found in zip(_CORE, core_estimates(sums, at_mean, f"pair/{site}", _CORE), strict=True):
            yield f"{site}/{name}", found


def _value(of: _Of, sums: Floats) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(of.statistic(sums.sum(0)))


def _less(name: str, one: Estimate, other: Estimate, over: str) -> Figure:
    """A figure less that of another pair over the same documents."""
    figure, words = one.figure, ARMS[over]
    said = f"the same {words} taken from it, on the same documents; null 0"
    if figure.value is None or other.figure.value is None:
        failure = figure.failure or other.figure.failure
        return Figure(name=name, unit=figure.unit, definition=f"{figure.definition}; {said}", failure=failure)
    apart = difference(one.jackknife, other.jackknife, paired=True)
    n = min(one.jackknife.n_effective, other.jackknife.n_effective)
    ends = (apart.low, apart.high) if n >= LEAST_DOCUMENTS else (np.nan, np.nan)
    influences = one.jackknife.influences - other.jackknife.influences
    return interval_figure(
        name,
        Interval(apart.value, *ends),
        f"{figure.definition.split('; 95 %')[0].split('; null')[0]}; {said}; 95 % jackknife interval over documents",
        over="documents",
        spread=(figure.n_units, n, float(np.sqrt(np.square(influences).sum()))),
        n=figure.n,
        unit=figure.unit,
        better=figure.better,
        null=0.0,
    )
