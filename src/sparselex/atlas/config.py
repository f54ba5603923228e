"""How dictionaries and models are laid beside each other: configurations that can be read without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from sparselex.base.bounds import BatchRows, Count, LastShare, Seed, Tokens
from sparselex.base.config import Config

Layout = Literal["umap", "pca"]
"""How latents come to places on a map."""


ClusterSpace = Literal["plane", "10d"]
"""Where clusters are looked for."""


class DiffConfig(Config):
    """On how much two models are compared."""

    n_rows: Count = 2000
    """Rows of the test split, spread evenly over it."""

    batch_rows: BatchRows | None = None
    """Rows in a forward pass; left out, as many as there is memory for, 32 at most."""

    n_shown: Count = 20
    """Latents of each model named in the summary; the table has all."""

    least_active: Tokens = 100
    """Tokens on which a latent must be active to be named: factors from a few tokens say little."""


class MapConfig(Config):
    """How the latents of a dictionary are laid on a plane."""

    layout: Layout = "umap"
    """umap: neighbours stay neighbours, and distances between groups say little. pca: the two directions in which
    decoder rows differ most, in seconds."""

    n_neighbors: Annotated[int, Field(ge=2, le=200)] = 15
    """Neighbours of each latent that UMAP keeps near it."""

    min_dist: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How near UMAP may put two latents."""

    n_components: Annotated[int, Field(ge=2, le=1000)] = 50
    """Principal components to which wider decoder rows are cut before UMAP."""

    clusters: ClusterSpace = "plane"
    """plane: clusters (HDBSCAN) are those that one sees. 10d: they are looked for in ten dimensions, into which latents
    are laid once more, as in the 2023 paper."""

    least_cluster: Annotated[int, Field(ge=2, le=10**6)] = 10
    """Latents that a cluster has at least; 3 in the 2023 paper."""

    seed: Seed = 0
    """Seed of UMAP."""


class CompareConfig(Config):
    """On how much two dictionaries are compared."""

    n_tokens: Tokens | None = 200_000
    """Counted tokens of both indexes over which activations are correlated: in whole rows, spread evenly over the
    corpus; `none` (in JSON null) takes all."""

    least_active: Count = 20
    """Tokens on which a latent must be active there: of a rarer one chance alone finds a perfect match."""

    n_candidates: Annotated[int, Field(ge=1, le=100)] = 16
    """Best matches of each latent among which its partner is chosen."""

    least_inside: LastShare = 0.5
    """Share of a latent's active tokens on which another one must be active for it to be a part of that."""

    least_covered: LastShare = 0.7
    """Share of a latent's active tokens that its parts must cover together, and none of them alone, for it to be
    split."""

    encoder: str | None = "all-minilm-l6-v2"
    """The sentence encoder by which explanations of pairs are compared: that of the extra `embed`, or the folder of
    another; `none` leaves their similarity out."""

    most_pairs: Count = 2000
    """Pairs of a matching whose explanations are compared; of more, so many are drawn at random."""

    seed: Seed = 0
    """Seed of the nulls."""
