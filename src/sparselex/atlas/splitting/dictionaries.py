"""Two dictionaries of one place and text, opened beside each other: latents that are active often enough, on tokens on
which something is found and on others on which it has to hold."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.compare.columns import columns, shifted
from sparselex.atlas.universality.latents import Columns
from sparselex.atlas.universality.tokens import Tokens, common_tokens
from sparselex.base.errors import UserError
from sparselex.base.intervals import effective_units
from sparselex.features.counted import drawn_shift
from sparselex.features.index import FeatureIndex


class Dictionary(NamedTuple):
    """One of the dictionaries."""

    run: str
    """Its run."""

    features: FeatureIndex
    """Its activations."""

    differs: str = ""
    """How it was trained otherwise, in words."""


class Beside(NamedTuple):
    """Two of them beside each other."""

    left: Columns
    """Activations of the one."""

    right: Columns
    """Those of the other."""

    chosen: Tokens
    """Tokens on which something is found."""

    judged: Tokens
    """Those on which it has to hold."""

    groups: NDArray[np.int64]
    """`[n_judged]`, the group of documents of each of the latter."""

    n_groups: int
    """How many groups there are."""

    sizes: NDArray[np.int64]
    """Tokens of each document of the latter."""

    @property
    def n_documents(self) -> float:
        """Documents of one size that would tell as much."""
        return effective_units(self.sizes)


def beside(left: Dictionary, right: Dictionary, n_tokens: int | None, least_active: int, n_groups: int) -> Beside:
    """The latents of both that are active on `least_active` tokens or more of either kind, on about `n_tokens` of each
    kind. Raises `UserError` where one of them has none."""
    chosen, judged = common_tokens(left.features, right.features, n_tokens)
    opened = [
        Columns.of(columns(one.features, chosen.ranks), columns(one.features, judged.ranks), least_active)
        for one in (left, right)
    ]
    for found, one in zip(opened, (left, right), strict=True):
        if not len(found.kept):
            raise UserError(
                f"No latent of run {one.run!r} is active on {least_active:,} of the tokens that both indexes counted.",
                "latents that are active more often",
                "index more text, or give a smaller --least-active.",
            )
    sizes, groups = judged.documents(left.features.corpus, n_groups)
    return Beside(opened[0], opened[1], chosen, judged, groups, int(groups.max()) + 1, sizes)


def moved(found: Columns, rng: np.random.Generator) -> Columns:
    """The same latents with their activations shifted away from their tokens."""

    def away(one: csr_array) -> csr_array:
        return shifted(one, drawn_shift(rng, one.shape[1]))

    return Columns(found.kept, away(found.chosen), away(found.judged))
