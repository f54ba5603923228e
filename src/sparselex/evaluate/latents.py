"""What an index says of a dictionary as a whole: how many of its latents are alive, and how often they are active."""

import numpy as np

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.records import DensityHistogram
from sparselex.features.index import FeatureIndex


def latent_figures(index: FeatureIndex, dense_above: float) -> list[Figure]:
    """Shares of latents that are alive, dead and dense, with intervals over latents."""
    density = index.table["density"]
    where = f"of {index.d_sae:,} latents, over {index.n_tokens_total:,} counted tokens"
    shares = {
        "alive_share": (density > 0, "active on at least one token"),
        "dead_share": (density == 0, "never active"),
        "dense_share": (density > dense_above, f"active on more than {100 * dense_above:g}% of tokens"),
    }
    return [
        mean_figure(f"core/{name}", which, f"share {words}, {where}", over="latents")
        for name, (which, words) in shares.items()
    ]


def density_histogram(index: FeatureIndex, n_bins: int = 40) -> DensityHistogram:
    """log10 density of all living latents in equal bins from one token in the corpus to every token."""
    density = index.table["density"]
    edges = np.linspace(np.log10(1 / max(2, index.n_tokens_total)), 0, n_bins + 1)
    alive = density[density > 0]
    counts = np.histogram(np.log10(alive).clip(edges[0], 0), edges)[0]
    return DensityHistogram(edges=edges.tolist(), counts=counts.tolist(), n_dead=int((density == 0).sum()))
