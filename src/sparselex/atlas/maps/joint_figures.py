"""How far clusters hold what several dictionaries have in common, each beside what it would be by chance."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.maps.joint import nearest, of_all_by_chance, same_by_chance
from sparselex.atlas.maps.layout import Floats32
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure

_TENTH = 10
"""The control's neighbour: near still, and not the nearest."""


class Placed(NamedTuple):
    """Latents of one dictionary on the map."""

    run: str
    unit: Floats32
    """`[n, d_out]`, their decoder rows, of unit length."""

    cluster: NDArray[np.int32]
    """`[n]`, cluster of each; -1 for none."""


def joint_figures(placed: Sequence[Placed]) -> list[Figure]:
    """The figures of a map of several dictionaries, the narrowest first."""
    return [_same_cluster(narrow, wide) for narrow, wide in pairwise(placed)] + [_of_all(placed)]


def _same_cluster(narrow: Placed, wide: Placed) -> Figure:
    near = nearest(narrow.unit, wide.unit, min(_TENTH, len(wide.unit)))
    own = narrow.cluster
    same = [(own >= 0) & (own == wide.cluster[column]) for column in near.T]
    figure = mean_figure(
        f"map/{narrow.run}-to-{wide.run}/same_cluster",
        same[0] if same else np.zeros(0, dtype=bool),
        f"share of the latents of {narrow.run} on the map that lie in one cluster with the latent of {wide.run} whose "
        "decoder row is nearest by cosine; a latent in no cluster lies with none. Null: the mean over all ways to "
        "shuffle clusters among the latents of each dictionary. The control is the tenth nearest in place of the "
        "nearest. Places come of the same cosines",
        over="latents",
        share=True,
        null=same_by_chance(own, wide.cluster),
        empty="no latent is on the map",
    )
    if figure.value is None or len(same) < _TENTH:
        return figure
    return figure.model_copy(update={"controls": {"tenth nearest": float(same[-1].mean())}})


def _of_all(placed: Sequence[Placed]) -> Figure:
    n = 1 + max(int(one.cluster.max(initial=-1)) for one in placed)
    of = np.stack([np.bincount(one.cluster[one.cluster >= 0], minlength=n) for one in placed]).astype(np.int64)
    expected = of_all_by_chance(of.sum(0), of.sum(1))
    return mean_figure(
        "map/of_all_widths",
        (of > 0).all(0),
        f"share of clusters that hold latents of all of {', '.join(one.run for one in placed)}. Null: the mean over "
        "all ways to shuffle which latent in a cluster is of which dictionary",
        over="clusters",
        share=True,
        null=float(expected.mean()) if n else None,
        empty="there is no cluster",
    )
