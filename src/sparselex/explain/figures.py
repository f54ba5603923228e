"""The figures of explanations: how many latents are explained, and how well over all of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.estimates import Apart, mean_figure, median_figure
from sparselex.base.figures import Better, Figure
from sparselex.explain.records import Explanation, Score


def share_figure(explainer: str, explained: str, explanations: Sequence[Explanation], *, drawn: bool = False) -> Figure:
    """Share of latents explained, with its interval over latents. `explained` says in words what these have. Of
    `drawn` latents, which are asked about, none is abstained from."""
    words = f"share of living latents with {explained}; the others are abstentions"
    if drawn:
        words = f"share of the drawn latents with {explained}; the others are failures"
    elif n_failed := sum(e.status == "failed" for e in explanations):
        words += f", or failures ({n_failed:,})"
    flags = [e.status == "explained" for e in explanations]
    return mean_figure(
        f"explain/{explainer}/explained_share", flags, words, over="latents", empty="no latent is ever active"
    )


def score_figures(
    prefix: str,
    headline: str,
    definitions: Mapping[str, str],
    scores: Sequence[Score],
    *,
    better: Better = "",
    apart: Mapping[str, Apart] | None = None,
    empty: str = "no latent has this score",
) -> list[Figure]:
    """The median over latents of each of a scorer's measures, beside the median of its nulls, as `prefix/<metric>`; the
    headline first. `apart` has the same scores without each of several groups of documents, by metric; `empty` says why
    there are none where there are none."""
    by_metric: dict[str, list[Score]] = {metric: [] for metric in (headline, *definitions)}
    for score in scores:
        by_metric[score.metric].append(score)
    return [
        _median(f"{prefix}/{metric}", definitions[metric], found, better, (apart or {}).get(metric), empty)
        for metric, found in by_metric.items()
    ]


def _median(name: str, words: str, scores: Sequence[Score], better: Better, apart: Apart | None, empty: str) -> Figure:
    nulls = [score.null for score in scores if score.null is not None]
    return median_figure(
        name,
        [score.value for score in scores],
        f"median over explained latents, of those for which it can be formed, of: {words}",
        over="latents",
        apart=apart,
        null=float(np.median(nulls)) if nulls else None,
        better=better,
        empty=empty,
    )
