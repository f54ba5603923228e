"""What a crosscoder of two models says of their difference: norms of decoder rows, and what is known of each latent."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.atlas.records import DIFF_CLASSES
from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.trainable import TrainableDictionary

ONE_SIDED = 0.1
"""Relative norm below which a latent belongs to the first model alone, and less than 1 by which it belongs to the
second alone."""

SHARED = (0.4, 0.6)
"""Relative norms between which a latent is shared."""

SPECIFIC_BELOW = 0.3
"""Both ratios of latent scaling are below this for a latent that is truly in one model only."""


class Directions(NamedTuple):
    """The decoder of a crosscoder of two models, each site in units of its own scale."""

    rows: Float[Tensor, "2 d_sae d"]
    """Rows at the first and at the second site."""

    scales: Float[Tensor, " 2"]
    """What brings raw activations of each site to its own units."""

    relative_norm: Float[Tensor, " d_sae"]
    """Norm at the second site over the sum of both; NaN where a latent writes nothing."""

    cosine: Float[Tensor, " d_sae"]
    """Of the two rows; 0 where one of them is 0."""


class LatentDiff(NamedTuple):
    """What is known of every latent, `[d_sae]` each. Factors are NaN where a latent was never active, ratios also where
    its direction is not even in its own model (a factor there that is not positive)."""

    relative_norm: Floats
    """Norm of its decoder row at the second site over the sum of both, in units of each site's scale."""

    cosine: Floats
    """Of its two decoder rows."""

    label: NDArray
    """One of `DIFF_CLASSES`."""

    own: NDArray[np.int64]
    """The model in which its row is longer, 0 or 1: latent scaling follows that row."""

    n_active: NDArray[np.int64]
    """Tokens on which it was active."""

    beta_error_own: Floats
    """Least-squares factor of its own row in its own model's error."""

    beta_error_other: Floats
    """The same row in the other model's error."""

    beta_reconstruction_own: Floats
    """Least-squares factor of its own row in its own model's reconstruction."""

    beta_reconstruction_other: Floats
    """The same row in the other model's reconstruction."""

    nu_error: Floats
    """Other over own of the errors: near 0 for a latent of one model, near 1 for a direction that is as strong in the
    other but unexplained."""

    nu_reconstruction: Floats
    """Other over own of the reconstructions: near 0 for a latent of one model, higher where other latents write its
    direction there."""


def directions(dictionary: Dictionary) -> Directions:
    """The two decoders of a crosscoder, in units of each site's scale.

    Raises `UserError` for a dictionary that is no crosscoder of two sites, and for sites of unequal width: a row of one
    model has to be a direction in the other as well.
    """
    parts, part_scales = _sites_of(dictionary)
    if len(parts) != 2:
        raise UserError(
            f"The dictionary writes {len(parts)} site{'s' if len(parts) > 1 else ''}.",
            "a crosscoder of two models at one hook",
            "harvest with --second-model and one --hook, and train on that.",
        )
    if parts[0] != parts[1]:
        raise UserError(
            f"The two sites have widths {parts[0]} and {parts[1]}.",
            "one width: the direction of a latent in one model is looked for in the other",
            "compare two models of one width, such as a model and its fine-tuned version.",
        )
    rows = torch.stack(dictionary.directions().split(list(parts), dim=-1))
    norms, dots = rows.norm(dim=-1), (rows[0] * rows[1]).sum(-1)
    cosine = dots / norms.prod(0).clamp_min(torch.finfo(dots.dtype).tiny)
    return Directions(rows, part_scales, norms[1] / norms.sum(0), cosine)


def _sites_of(dictionary: Dictionary) -> tuple[tuple[int, ...], Tensor]:
    """Widths of the sites that a crosscoder writes side by side, and what brings each to its own units; one site for
    every other type."""
    if isinstance(dictionary, TrainableDictionary) and dictionary.is_autoencoder:
        return dictionary.parts_out, dictionary.site_scales()
    return (dictionary.b_dec.shape[-1],), torch.ones(1)


def labels(relative_norm: Floats) -> NDArray:
    """The class of each latent by its relative norm: `only_a` below `ONE_SIDED`, `only_b` above 1 - `ONE_SIDED`,
    `shared` within `SHARED` (ends included), else `other`."""
    low, high = SHARED
    conditions = [
        relative_norm < ONE_SIDED,
        relative_norm > 1 - ONE_SIDED,
        (relative_norm >= low) & (relative_norm <= high),
    ]
    return np.select(conditions, DIFF_CLASSES[:3], DIFF_CLASSES[3])


WORDS = {
    "only_a": f"relative decoder norm |d_B| / (|d_A| + |d_B|) is below {ONE_SIDED:g}",
    "only_b": f"relative decoder norm |d_B| / (|d_A| + |d_B|) is above {1 - ONE_SIDED:g}",
    "shared": f"relative decoder norm is between {SHARED[0]:g} and {SHARED[1]:g}",
    "other": "relative decoder norm fits none of the other classes",
}
"""What puts a latent into each of `DIFF_CLASSES`."""


def diff_figures(found: LatentDiff, n_tokens: int) -> list[Figure]:
    """Share of each class among the latents that were active, of those of one model that are truly specific, and how
    alike the rows of shared latents are, with intervals over latents.

    A latent of one model is truly specific if both `nu_error` and `nu_reconstruction` are below `SPECIFIC_BELOW`.
    """
    active, where = found.n_active > 0, f"over {n_tokens:,} counted tokens of test documents"
    units = f"norms in units of each model's scale, {where}"
    classes = [
        _mean(f"{name}_share", found.label[active] == name, f"share of active latents whose {WORDS[name]}, {units}")
        for name in DIFF_CLASSES
    ]
    specific = [
        _specific_share(found, name, other, where) for name, other in (("only_a", "second"), ("only_b", "first"))
    ]
    cosines = found.cosine[active & (found.label == "shared")]
    words = (
        f"mean cosine of the two decoder rows of active shared latents, {where}; near 0 the models have no directions "
        "in common (they were trained apart), and latent scaling says nothing about what either of them knows"
    )
    return [*classes, *specific, _mean("shared_cosine", cosines, words)]


def _specific_share(found: LatentDiff, name: str, other: str, where: str) -> Figure:
    words = (
        f"share of active latents of class {name} whose direction is truly absent from the {other} model: nu_error and "
        f"nu_reconstruction (latent scaling, arXiv:2504.02922) both below {SPECIFIC_BELOW:g}, {where}"
    )
    return _mean(f"{name}_specific_share", is_specific(found)[(found.n_active > 0) & (found.label == name)], words)


def _mean(name: str, values: NDArray, words: str) -> Figure:
    return mean_figure(f"diff/{name}", values, words, over="latents", empty="no latent of this kind was active")


def is_specific(found: LatentDiff) -> NDArray[np.bool_]:
    """`[d_sae]`, whether both ratios are below `SPECIFIC_BELOW`; False where they are not known."""
    return (found.nu_error < SPECIFIC_BELOW) & (found.nu_reconstruction < SPECIFIC_BELOW)
