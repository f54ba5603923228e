"""Control dictionaries of an evaluation: directions that nothing was trained to find, measured in the dictionary's
place."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparselex.base.seeds import derive
from sparselex.dictionaries.controls.basis import (
    Basis,
    covariance_matched_rows,
    neurons,
    principal_components,
    random_rows,
)
from sparselex.dictionaries.controls.ica import independent_components
from sparselex.dictionaries.controls.kmeans import centroid_rows
from sparselex.evaluate.config import Control
from sparselex.evaluate.core import Moments


class _Given(NamedTuple):
    """What a control is made from."""

    moments: Moments
    sample: Callable[[], Tensor]
    d_sae: int
    k: int
    generator: torch.Generator
    n_steps: int


_MAKE: dict[Control, Callable[[_Given], Basis]] = {
    "neurons": lambda g: neurons(g.moments.mean, g.k),
    "pca": lambda g: principal_components(*g.moments, g.k),
    "random": lambda g: random_rows(g.moments.mean, g.d_sae, g.k, g.generator, n_steps=g.n_steps),
    "covariance": lambda g: covariance_matched_rows(*g.moments, g.d_sae, g.k, g.generator, n_steps=g.n_steps),
    "kmeans": lambda g: centroid_rows(g.sample(), g.d_sae, g.k, g.generator, n_steps=g.n_steps),
    "ica": lambda g: independent_components(g.sample(), g.k, g.generator, n_steps=g.n_steps),
}


def control_dictionaries(
    names: Sequence[Control], moments: Moments, sample: Callable[[], Tensor], *, d_sae: int, k: int, n_steps: int
) -> dict[str, Basis]:
    """The named controls with `k` active latents, or as many as there are dimensions.

    Overcomplete ones have `d_sae` directions and draw them from a fixed seed. `sample` gives the activations `[n,
    d_in]` that `moments` were taken from; only `kmeans` and `ica` ask for them. Raises `UserError` where a control
    cannot be made.
    """
    found: dict[str, Basis] = {}
    for name in names:
        generator = torch.Generator().manual_seed(derive(0, "control", name))
        given = _Given(moments, sample, d_sae, min(k, len(moments.mean)), generator, n_steps)
        found[name] = _MAKE[name](given)
    return found
