"""What explanations of every size give in numbers: each beside the rule of another latent and the run's controls."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import Apart, mean_figure, median_figure
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


class Said(NamedTuple):
    """What some rules say of the latents of one run, `[n]` each."""

    shares: Floats
    """`[n, n_intervals]`, share of each interval's examples that a latent's rule calls active; NaN without enough."""

    whole: Flags
    """Whether the rule is consistent over the whole range."""

    top_only: Flags
    """Whether it is so in the upper part alone."""

    spearman: Floats
    """Rank correlation over the mixture."""

    def of(self, which: Flags) -> "Said":
        """Of some of the latents."""
        return Said._make(part[which] for part in self)


class Answers(NamedTuple):
    """The latents of one run."""

    own: Said
    """By their own rules."""

    null: Said
    """By the rule of another latent."""

    without: list[Said]
    """By their own, without each group of test documents."""

    single: Flags
    """`[n]`, whether they are of a single token."""

    n_documents: float
    """Documents of one size that would tell as much."""

    n_tokens: int
    """Test tokens of which examples are drawn."""

    def of(self, which: Flags) -> "Answers":
        """Some of them."""
        without = [one.of(which) for one in self.without]
        return self._replace(
            own=self.own.of(which), null=self.null.of(which), without=without, single=self.single[which]
        )

    def apart(self, read: Callable[[Said], Floats | Flags], known: Flags | None = None) -> Apart:
        """What is read off each latent, without each group of documents."""
        each = np.stack([read(one) for one in self.without])
        return Apart(each if known is None else each[:, known], self.n_documents)


_GROUPS: dict[str, tuple[str, Callable[[Answers], Flags]]] = {
    "": ("explained latents", lambda one: np.ones(len(one.single), dtype=bool)),
    "_single_token": ("explained latents whose top examples are all on one token", lambda one: one.single),
    "_of_more_tokens": ("explained latents whose top examples are on several tokens", lambda one: ~one.single),
}


def curve(found: Answers) -> list[IntervalPoint]:
    """All latents by interval."""
    n = found.own.shares.shape[1]
    points = []
    for place in range(n):
        own, null = (_known(said.shares[:, place]) for said in (found.own, found.null))
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
    parts: dict[str, tuple[str, Callable[[Said], Flags]]] = {
        "whole_range": ("every interval of activation that has examples", lambda one: one.whole),
        "top_only": (
            "every interval in the upper 60 % of the range, unless asked otherwise, and not in all of those below",
            lambda one: one.top_only,
        ),
    }
    found = list[Figure]()
    for name, (words, of) in parts.items():
        null = of(mine.null)
        figure = mean_figure(
            f"intervals/{name}{end}",
            of(mine.own),
            f"share of {which} whose rule calls half of the sampled test examples active in {words}; {_NULL}",
            over="latents",
            apart=mine.apart(of),
            null=float(null.mean()) if len(null) else None,
            empty=_EMPTY,
        )
        flagged = {run: of(one.own).astype(float) for run, one in others.items()}
        found.append(_beside(figure, flagged, np.mean))
    for name, place, words in (("lowest", 0, "lowest"), ("highest", -1, "highest")):
        at = lambda one, place=place: one.shares[:, place]
        others_say, known = _known(at(mine.null)), ~np.isnan(at(mine.own))
        figure = mean_figure(
            f"intervals/consistency_{name}{end}",
            at(mine.own)[known],
            f"mean over {which} of the share of sampled test examples from the {words} interval of activation that "
            f"their rules call active; {_NULL}",
            over="latents",
            apart=mine.apart(at, known),
            share=True,
            null=float(others_say.mean()) if len(others_say) else None,
            better="higher",
            empty=_EMPTY,
        )
        found.append(_beside(figure, {run: _known(at(one.own)) for run, one in others.items()}, np.mean))
    return found


def _scores(mine: Answers, others: Mapping[str, Answers], end: str, which: str) -> Figure:
    null = mine.null.spearman
    figure = median_figure(
        f"intervals/spearman_median{end}",
        mine.own.spearman,
        f"median over {which} of the rank correlation of predicted and true activation {_MIXTURE}; a rule that says "
        f"the same everywhere has 0; {_NULL}",
        over="latents",
        apart=mine.apart(lambda one: one.spearman),
        null=float(np.median(null)) if len(null) else None,
        better="higher",
        empty=_EMPTY,
    )
    return _beside(figure, {run: one.own.spearman for run, one in others.items()}, np.median)


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _beside(figure: Figure, others: Mapping[str, Floats], how: Callable[[Floats], np.floating]) -> Figure:
    """The figure with the same of each control, where there is any value."""
    if figure.failure is not None:
        return figure
    return figure.model_copy(update={"controls": {run: float(how(each)) for run, each in others.items() if len(each)}})
