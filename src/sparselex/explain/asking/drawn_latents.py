"""Which latents are explained."""

from collections.abc import Collection

import numpy as np

from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.features.index import FeatureIndex


def chosen(index: FeatureIndex, config: AskConfig, among: Collection[int] | None = None) -> list[int]:
    """The latents that are to be explained: of those active often enough, and `among` these where they are given, as
    many as are wanted, in a drawn order, which is the same for everybody."""
    often = np.flatnonzero(index.table["train_n_active"] >= config.min_active)
    drawn = generator(config.seed, "latents").permutation(often).tolist()
    return [latent for latent in drawn if among is None or latent in among][: config.latents]
