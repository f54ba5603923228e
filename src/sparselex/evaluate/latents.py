"""What an index says of a dictionary as a whole: how many of its latents are alive, and how often they are active, on
test documents."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import estimate
from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, even_groups
from sparselex.evaluate.records import DensityHistogram
from sparselex.features.index import FeatureIndex

N_GROUPS = 50
"""Groups of test documents that are left out in turn: what shares of latents owe to the documents at hand."""


def latent_figures(index: FeatureIndex, dense_above: float) -> list[Figure]:
    """Shares of latents that are alive, dead and dense on test documents, with intervals over these."""
    active, n_tokens = _by_group(index)
    per_group = np.concatenate([active, n_tokens[:, None]], axis=1)
    where = f"of {index.d_sae:,} latents, on {int(n_tokens.sum()):,} counted tokens of test documents"

    def share(name: str, of: Callable[[Floats, Floats], NDArray[np.bool_]], words: str, better: Better = "") -> Figure:
        return estimate(
            f"core/{name}",
            per_group,
            lambda s: of(s[..., :-1], s[..., -1:]).mean(-1),
            f"share {words}, {where}",
            over="groups of documents",
            least=LEAST_DOCUMENTS,
            share=True,
            n=int(n_tokens.sum()),
            better=better,
            empty="no token of the test documents was counted",
        ).figure

    return [
        share("alive_share", lambda active, n: active > 0, "active on at least one token"),
        share("dead_share", lambda active, n: active == 0, "never active", "lower"),
        share(
            "dense_share",
            lambda active, n: active > dense_above * n,
            f"active on more than {100 * dense_above:g}% of tokens",
        ),
    ]


def density_histogram(index: FeatureIndex, n_bins: int = 40) -> DensityHistogram:
    """log10 density on test documents of all latents that are active there, in equal bins from one token to every
    token."""
    n_tokens = index.n_tokens["test"]
    density = index.table["test_n_active"] / max(1, n_tokens)
    edges = np.linspace(np.log10(1 / max(2, n_tokens)), 0, n_bins + 1)
    alive = density[density > 0]
    counts = np.histogram(np.log10(alive).clip(edges[0], 0), edges)[0]
    return DensityHistogram(edges=edges.tolist(), counts=counts.tolist(), n_dead=int((density == 0).sum()))


def _by_group(index: FeatureIndex) -> tuple[Floats, Floats]:
    """Of each group of test documents, on how many of its tokens each latent is active, `[n_groups, d_sae]`, and how
    many it has."""
    tokens = index.counted_tokens("test")
    groups = even_groups(tokens.per_document, N_GROUPS)
    of_rank, n_groups = groups[tokens.documents], int(groups.max(initial=-1)) + 1
    active = np.zeros((n_groups, index.d_sae))
    for latent in range(index.d_sae):
        active[:, latent] = np.bincount(of_rank[index.counted_column(latent, "test").ranks], minlength=n_groups)
    return active, np.bincount(of_rank, minlength=n_groups).astype(np.float64)
