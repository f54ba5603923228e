"""Histograms as bars, ready for inline SVG."""

import math
from typing import NamedTuple

from sparselex.evaluate.records import DensityHistogram
from sparselex.features.records import Histogram


class Bar(NamedTuple):
    """One bar in a box of 100 by 100, with its words."""

    x: float
    y: float
    width: float
    height: float
    label: str


def activation_bars(histogram: Histogram) -> list[Bar]:
    """Counts on a log scale: a latent's few strong activations are what one looks for beside its many weak ones."""
    edges = histogram.edges
    labels = [f"{low:.3g} to {high:.3g}: {n:,} tokens" for low, high, n in zip(edges, edges[1:], histogram.counts, strict=False)]
    return _bars([math.log10(n + 1) for n in histogram.counts], labels)


def density_bars(histogram: DensityHistogram) -> list[Bar]:
    """Share of the dictionary's latents in each bin."""
    edges = histogram.edges
    labels = [
        f"density 10^{low:.2f} to 10^{high:.2f}: {n:,} latents"
        for low, high, n in zip(edges, edges[1:], histogram.counts, strict=False)
    ]
    return _bars([float(n) for n in histogram.counts], labels)


def _bars(heights: list[float], labels: list[str]) -> list[Bar]:
    top, width = max([*heights, 1e-9]), 100 / max(1, len(heights))
    return [
        Bar(round(i * width, 3), round(100 - 100 * h / top, 3), round(width * 0.92, 3), round(100 * h / top, 3), label)
        for i, (h, label) in enumerate(zip(heights, labels, strict=True))
    ]
