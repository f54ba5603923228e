"""What answers about logit weights give in numbers: each beside the rule of another latent and the run's controls."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure

Floats = NDArray[np.float64]

CLEAR = 0.6
"""Accuracy over a hundred tokens that chance exceeds in one latent of forty."""

_EMPTY = "no such latent was looked at"
_ANSWER = (
    "of 100 tokens (half of ranks 10 to 60 of a latent's logit weights, half at random, unless asked otherwise) that "
    "its rule answers rightly by which tokens follow in training text where the rule holds"
)
_NULL = "null: the rule of another latent on the same tokens"


class Answers(NamedTuple):
    """The latents of one run, `[n]` each."""

    accuracy: Floats
    """By their own rules."""

    null: Floats
    """By the rule of another latent."""

    even: Floats
    """By as many places of each rule."""

    ceiling: Floats
    """By their activations in place of rules."""

    single: NDArray[np.bool_]
    """Whether they are of a single token."""

    above: Floats
    """Share of tokens far above the median logit weight."""

    above_null: Floats
    """The same of random directions."""

    second: NDArray[np.bool_]
    """Whether the gap in the right tail is wider than in 95 % of random directions."""

    def of(self, which: NDArray[np.bool_]) -> "Answers":
        """Some of them."""
        return Answers._make(part[which] for part in self)


_GROUPS: dict[str, tuple[str, Callable[[Answers], NDArray[np.bool_]]]] = {
    "": ("explained latents", lambda one: np.ones(len(one.accuracy), dtype=bool)),
    "_single_token": ("explained latents whose top examples are all on one token", lambda one: one.single),
    "_of_more_tokens": ("explained latents whose top examples are on several tokens", lambda one: ~one.single),
}


def figures_of(own: Answers, controls: Mapping[str, Answers]) -> list[Figure]:
    """All figures, of a run beside its controls by name."""
    found = list[Figure]()
    for end, (which, chosen) in _GROUPS.items():
        mine = own.of(chosen(own))
        others = {name: one.of(chosen(one)) for name, one in controls.items()}
        median = median_figure(
            f"logits/accuracy_median{end}",
            mine.accuracy,
            f"median over {which}, of the share {_ANSWER}; {_NULL}; chance is 0.5",
            over="latents",
            null=float(np.median(mine.null)) if len(mine.null) else None,
            better="higher",
            empty=_EMPTY,
        )
        found.append(_beside(median, others, lambda one: one.accuracy, np.median))
        mean = mean_figure(
            f"logits/accuracy_mean{end}",
            mine.accuracy,
            f"mean over {which}, of the share {_ANSWER}; {_NULL}; chance is 0.5",
            over="latents",
            null=float(mine.null.mean()) if len(mine.null) else None,
            better="higher",
            empty=_EMPTY,
        )
        found.append(_beside(mean, others, lambda one: one.accuracy, np.mean))
        clear = mean_figure(
            f"logits/clear_share{end}",
            mine.accuracy >= CLEAR,
            f"share of {which} with an accuracy of {CLEAR:g} or more, which chance alone reaches in one of forty where "
            f"100 tokens are asked about; {_NULL}",
            over="latents",
            null=float((mine.null >= CLEAR).mean()) if len(mine.null) else None,
            better="higher",
            empty=_EMPTY,
        )
        found.append(_beside(clear, others, lambda one: (one.accuracy >= CLEAR).astype(float), np.mean))
    return [*found, *_evidence(own, controls), *_tails(own, controls)]


def _evidence(own: Answers, controls: Mapping[str, Answers]) -> list[Figure]:
    even = median_figure(
        "logits/accuracy_even_median",
        own.even,
        "median over explained latents of the share answered rightly where what follows is looked at in at most 1,000 "
        "places of each rule, unless asked otherwise, so that latents and neurons are told of by as many; chance is "
        "0.5",
        over="latents",
        null=0.5,
        better="higher",
        empty=_EMPTY,
    )
    ceiling = median_figure(
        "logits/ceiling_median",
        own.ceiling,
        "median over explained latents of the share answered rightly from the places where a latent is active, in "
        "place of those where its rule says so: what an explanation without fault would reach in this text; chance is "
        "0.5",
        over="latents",
        null=0.5,
        empty=_EMPTY,
    )
    return [
        _beside(even, controls, lambda one: one.even, np.median),
        _beside(ceiling, controls, lambda one: one.ceiling, np.median),
    ]


def _tails(own: Answers, controls: Mapping[str, Answers]) -> list[Figure]:
    above = mean_figure(
        "logits/far_above",
        own.above,
        "mean share of tokens whose logit weight lies more than four robust standard deviations above the median; "
        "null: random directions of the same lengths",
        over="latents",
        null=float(own.above_null.mean()) if len(own.above_null) else None,
        empty=_EMPTY,
    )
    second = mean_figure(
        "logits/second_mode_share",
        own.second,
        "share of latents with a gap in the right tail of their logit weights, five tokens or more on its right, that "
        "is wider than in 95 % of random directions of the same lengths; null: 0.05, by construction",
        over="latents",
        null=0.05,
        empty=_EMPTY,
    )
    return [
        _beside(above, controls, lambda one: one.above, np.mean),
        _beside(second, controls, lambda one: one.second.astype(float), np.mean),
    ]


def _beside(
    figure: Figure, others: Mapping[str, Answers], of: Callable[[Answers], Floats], how: Callable[[Floats], np.floating]
) -> Figure:
    if figure.failure is not None:
        return figure
    values: Sequence[tuple[str, Floats]] = [(name, of(one)) for name, one in others.items()]
    return figure.model_copy(update={"controls": {name: float(how(each)) for name, each in values if len(each)}})
