"""What explanations of every size give in numbers: each beside the rule of another latent and the run's controls."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.intervals.records import IntervalPoint

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_EMPTY = "no such latent was looked at"
_NULL = "null: the rule of another latent"
_MIXTURE = (
    "over 60 examples of nine tokens in test documents (6 of the largest activations, 2 of each of 12 equal intervals, "
    "10 at random, 20 of the same tokens elsewhere)"
)


class Answers(NamedTuple):
    """The latents of one run, `[n]` each."""

    shares: Floats
    """`[n, n_intervals]`, share of each interval's examples that a latent's rule calls active; NaN without enough."""

    null: Floats
    """The same by the rule of another latent."""

    whole: NDArray[np.bool_]
    """Whether the rule is consistent over the whole range."""

    whole_null: NDArray[np.bool_]
    """The same by the rule of another latent."""

    top_only: NDArray[np.bool_]
    """Whether it is so in the upper part alone."""

    top_only_null: NDArray[np.bool_]
    """The same by the rule of another latent."""

    spearman: Floats
    """Rank correlation over the mixture."""

    spearman_null: Floats
    """The same by the rule of another latent."""

    single: NDArray[np.bool_]
    """Whether they are of a single token."""

    def of(self, which: NDArray[np.bool_]) -> "Answers":
        """Some of them."""
        return Answers._make(part[which] for part in self)


_GROUPS: dict[str, tuple[str, Callable[[Answers], NDArray[np.bool_]]]] = {
    "": ("explained latents", lambda one: np.ones(len(one.single), dtype=bool)),
    "_single_token": ("explained latents whose top examples are all on one token", lambda one: one.single),
    "_of_more_tokens": ("explained latents whose top examples are on several tokens", lambda one: ~one.single),
}


def curve(found: Answers) -> list[IntervalPoint]:
    """All latents by interval."""
    n = found.shares.shape[1]
    points = []
    for place in range(n):
        own, null = (_known(values[:, place]) for values in (found.shares, found.null))
        points.append(
            IntervalPoint(
                low=place / n,
                high=(place + 1) / n,
                n_latents=len(own),
                median=float(np.median(own)) if len(own) else None,
                mean=float(own.mean()) if len(own) else None,
                null=float(np.median(null)) if len(null) else None,
                null_mean=float(null.mean()) if len(null) else None,
            )
        )
    return points


def figures_of(own: Answers, controls: Mapping[str, Answers]) -> list[Figure]:
    """All figures, of a run beside its controls by name."""
    found = list[Figure]()
    for end, (which, chosen) in _GROUPS.items():
        mine = own.of(chosen(own))
        others = {name: one.of(chosen(one)) for name, one in controls.items()}
        found += [*_consistency(mine, others, end, which), _scores(mine, others, end, which)]
    return found


def _consistency(mine: Answers, others: Mapping[str, Answers], end: str, which: str) -> list[Figure]:
    parts: dict[str, tuple[str, Callable[[Answers], tuple[Flags, Flags]]]] = {
        "whole_range": ("every interval of activation that has examples", lambda one: (one.whole, one.whole_null)),
        "top_only": (
            "every interval in the upper 60 % of the range, unless asked otherwise, and not in all of those below",
            lambda one: (one.top_only, one.top_only_null),
        ),
    }
    found = list[Figure]()
    for name, (words, of) in parts.items():
        flags, null = of(mine)
        figure = mean_figure(
            f"intervals/{name}{end}",
            flags,
            f"share of {which} whose rule calls half of the sampled test examples active in {words}; {_NULL}",
            over="latents",
            null=float(null.mean()) if len(null) else None,
            empty=_EMPTY,
        )
        flagged = {run: of(one)[0].astype(float) for run, one in others.items()}
        found.append(_beside(figure, flagged, np.mean))
    for name, place, words in (("lowest", 0, "lowest"), ("highest", -1, "highest")):
        own, others_say = (_known(values[:, place]) for values in (mine.shares, mine.null))
        figure = mean_figure(
            f"intervals/consistency_{name}{end}",
            own,
            f"mean over {which} of the share of sampled test examples from the {words} interval of activation that "
            f"their rules call active; {_NULL}",
            over="latents",
            share=True,
            null=float(others_say.mean()) if len(others_say) else None,
            better="higher",
            empty=_EMPTY,
        )
        found.append(_beside(figure, {run: _known(one.shares[:, place]) for run, one in others.items()}, np.mean))
    return found


def _scores(mine: Answers, others: Mapping[str, Answers], end: str, which: str) -> Figure:
    figure = median_figure(
        f"intervals/spearman_median{end}",
        mine.spearman,
        f"median over {which} of the rank correlation of predicted and true activation {_MIXTURE}; a rule that says "
        f"the same everywhere has 0; {_NULL}",
        over="latents",
        null=float(np.median(mine.spearman_null)) if len(mine.spearman_null) else None,
        better="higher",
        empty=_EMPTY,
    )
    return _beside(figure, {run: one.spearman for run, one in others.items()}, np.median)


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _beside(figure: Figure, others: Mapping[str, Floats], how: Callable[[Floats], np.floating]) -> Figure:
    """The figure with the same of each control, where there is any value."""
    if figure.failure is not None:
        return figure
    return figure.model_copy(update={"controls": {run: float(how(each)) for run, each in others.items() if len(each)}})
