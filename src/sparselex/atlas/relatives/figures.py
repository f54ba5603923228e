"""Figures of relatives, each beside its null."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.relatives.records import KIND
from sparselex.base.estimates import Apart, mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats

SHIFTED = "null: the run's activations shifted by a third to two thirds of the tokens"
DEALT = "null: texts that are chosen with the narrower one's activations dealt out anew among the wider one's tokens"

_RARE, _NONE, _FEW = "no latent is active often enough", "no pair", "no pair of texts with enough other places"


class Kept(NamedTuple):
    """How many latents have relatives, and which pairs hold."""

    having: dict[str, NDArray[np.bool_]]
    """`[n_latents]`, which have a `narrower` relative, or a `wider` one."""

    without: dict[str, NDArray[np.bool_]]
    """`[n_groups, n_latents]`, the same without each group of test documents."""

    null: dict[str, NDArray[np.bool_]]
    """The same of shifted activations."""

    holds: NDArray[np.bool_]
    """`[n_pairs]`, which pairs of training documents hold on test documents."""

    holds_without: NDArray[np.bool_]
    """`[n_groups, n_pairs]`, the same without each group of these."""

    holds_null: NDArray[np.bool_]
    """The same of those of shifted activations."""

    n_documents: float
    """Documents of one size that would tell as much."""


class Telling(NamedTuple):
    """What minimal pairs of texts tell of pairs of latents."""

    differing: NDArray[np.int64]
    """`[n_texts]`, tokens in which the two texts differ."""

    at_random: Floats
    """`[n_texts]`, tokens in which two such places differ at random."""

    before: NDArray[np.bool_]
    """`[n_texts]`, whether the token that tells them apart stands before the active one."""

    told: Floats
    """`[n_texts]`, what the difference tells on other documents; NaN where there are too few places."""

    without: Floats
    """`[n_groups, n_texts]`, the same without each group of the documents that judge."""

    null: Floats
    """`[n_texts]`, the same of texts that are chosen with activations dealt out anew."""

    covered: Floats
    """`[n_texts]`, of what share of the wider one's places the difference says anything."""

    n_documents: float
    """Documents of one size that would tell as much, of those that judge."""


def kept_figures(other: str, kept: Kept) -> list[Figure]:
    """How many of a run's latents have relatives in the dictionary of run `other`."""

    def having(name: str) -> Figure:
        return mean_figure(
            f"{KIND}/{other}/{name}",
            kept.having[name],
            f"share of the run's latents with {name} relatives among those of {other}, found on training "
            f"documents and held on test documents; {SHIFTED}",
            over="latents",
            apart=Apart(kept.without[name], kept.n_documents),
            share=True,
            null=float(kept.null[name].mean()) if len(kept.null[name]) else None,
            empty=_RARE,
        )

    holding = mean_figure(
        f"{KIND}/{other}/held",
        kept.holds,
        f"share of the pairs of relatives found on training documents that hold on test documents; {SHIFTED}",
        over="pairs",
        apart=Apart(kept.holds_without, kept.n_documents),
        share=True,
        null=float(kept.holds_null.mean()) if len(kept.holds_null) else None,
        empty=_NONE,
    )
    return [having("narrower"), having("wider"), holding]


def telling_figures(other: str, telling: Telling) -> list[Figure]:
    """What texts tell of the run's latents and those of run `other`."""
    words = (
        "how often one token in which two texts differ says rightly, at places of test documents that did not choose "
        "them and of which it says anything, whether both latents are active or only the wider one, the mean of both "
        "kinds; 1/2 is chance"
    )

    def told(name: str, among: NDArray[np.bool_], where: str) -> Figure:
        there = among & np.isfinite(telling.told)
        by_chance = telling.null[among & np.isfinite(telling.null)]
        return mean_figure(
            f"{KIND}/{other}/{name}",
            telling.told[there],
            f"{words}{where}; {DEALT}",
            over="pairs",
            apart=Apart(telling.without[:, there], telling.n_documents),
            share=True,
            null=float(by_chance.mean()) if len(by_chance) else None,
            empty=_FEW,
        )

    every = np.ones(len(telling.told), dtype=bool)
    return [
        told("told_apart", every, ""),
        told("told_apart_before", telling.before, "; of pairs that are told apart by a token before the active one"),
        mean_figure(
            f"{KIND}/{other}/covered",
            telling.covered[np.isfinite(telling.covered)],
            "share of the wider one's places, in test documents that did not choose the texts, of which their "
            "difference says anything",
            over="pairs",
            share=True,
            empty=_NONE,
        ),
        median_figure(
            f"{KIND}/{other}/differing",
            telling.differing,
            "median number of tokens in which the two most similar texts differ; null: two places of these kinds drawn "
            "at random",
            over="pairs",
            null=float(np.median(telling.at_random)) if len(telling.at_random) else None,
            empty=_NONE,
        ),
    ]
