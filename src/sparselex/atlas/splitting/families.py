"""What a latent becomes in a wider dictionary, counted from links."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.splitting.links import Links
from sparselex.base.intervals import Floats


class Families(NamedTuple):
    """How many relatives each latent has."""

    children: NDArray[np.int64]
    """`[n_narrow]`, wide latents that each narrow one is linked to."""

    led: NDArray[np.int64]
    """`[n_narrow]`, those among them to which no narrow latent is linked more strongly."""

    parents: NDArray[np.int64]
    """`[n_wide]`, narrow latents that each wide one is linked to."""


def families(links: Links, n_narrow: int, n_wide: int) -> Families:
    """Relatives of all latents. Of equally strong links the first is a wide latent's strongest."""
    order = np.lexsort((links.narrow, -links.value, links.wide))
    first = np.unique(links.wide[order], return_index=True)[1]
    strongest = links.narrow[order][first]
    return Families(
        children=np.bincount(links.narrow, minlength=n_narrow),
        led=np.bincount(strongest, minlength=n_narrow),
        parents=np.bincount(links.wide, minlength=n_wide),
    )


def without_groups(links: Links, values: Floats, least: Floats, n_narrow: int, n_wide: int) -> list[Families]:
    """Relatives without each group of documents, where `values` `[n_groups, n_links]` are the links without it, which
    hold from `least` `[n_links]` on."""
    found = []
    for value in values:
        kept = value >= least
        found.append(families(links.at(kept)._replace(value=value[kept]), n_narrow, n_wide))
    return found
