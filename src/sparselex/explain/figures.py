"""The figures of explanations: how many latents are explained, and how well over all of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.figures import Figure
from sparselex.base.intervals import bootstrap_interval
from sparselex.explain.records import Explanation, Score


def share_figure(explainer: str, explained: str, explanations: Sequence[Explanation]) -> Figure:
    """Share of latents explained, with its interval over latents. `explained` says in words what these have."""
    name = f"explain/{explainer}/explained_share"
    definition = f"share of living latents with {explained}; the others are abstentions"
    if not explanations:
        return Figure(name=name, definition=definition, failure="no latent is ever active")
    if n_failed := sum(e.status == "failed" for e in explanations):
        definition += f", or failures ({n_failed:,})"
    flags = np.array([[e.status == "explained", 1] for e in explanations], dtype=float)
    share = bootstrap_interval(flags, lambda s: s[..., 0] / s[..., 1], n_draws=200)
    low, high = (end if np.isfinite(end) else None for end in (share.low, share.high))
    return Figure(name=name, value=share.value, ci_low=low, ci_high=high, n=len(flags), definition=definition)


def score_figures(prefix: str, headline: str, definitions: Mapping[str, str], scores: Sequence[Score]) -> list[Figure]:
    """The median over latents of each of a scorer's measures, beside the median of its nulls, as `prefix/<metric>`; the
    headline first."""
    by_metric: dict[str, list[Score]] = {metric: [] for metric in (headline, *definitions)}
    for score in scores:
        by_metric[score.metric].append(score)
    return [_median(f"{prefix}/{metric}", definitions[metric], found) for metric, found in by_metric.items()]


def _median(name: str, words: str, scores: Sequence[Score]) -> Figure:
    definition = f"median over explained latents of: {words}; 95 % bootstrap interval over latents"
    if not scores:
        return Figure(name=name, definition=definition, failure="no latent has this score")
    values = [score.value for score in scores]
    nulls = [score.null for score in scores if score.null is not None]
    low, high = _median_interval(values)
    return Figure(
        name=name,
        value=float(np.median(values)),
        ci_low=low,
        ci_high=high,
        n=len(values),
        null=float(np.median(nulls)) if nulls else None,
        definition=definition,
    )


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Distribution-free 95 % interval of a median from order statistics (binomial, normal approximation)."""
    ordered, n = np.sort(values), len(values)
    half = 0.98 * np.sqrt(n)
    low, high = int(np.floor(n / 2 - half)), int(np.ceil(n / 2 + half))
    return float(ordered[max(0, low)]), float(ordered[min(n - 1, high)])
