"""What a crosscoder of two models says of their difference, and whether it is true: decoder norms by site, and latent
scaling.

Latent scaling (Minder, Dumas et al. 2025, arXiv:2504.02922) asks of a latent how much of its direction is in the other
model after all: in what the crosscoder leaves unexplained there (an L1 penalty drops a weak row altogether, "complete
shrinkage"), or in what its other latents write there ("latent decoupling"). It takes for granted that a direction means
the same in both, as between a model and its fine-tuned version.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.atlas.records import DIFF_CLASSES
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.intervals import bootstrap_interval
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.sparse.products import pair_dots
from sparselex.dictionaries.trainable import TrainableDictionary

Floats = NDArray[np.float64]

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
    parts = dictionary.parts_out if isinstance(dictionary, TrainableDictionary) and dictionary.is_autoencoder else ()
    if not isinstance(dictionary, TrainableDictionary) or len(parts) != 2:
        raise UserError(
            f"The dictionary writes {len(parts) or 1} site{'s' if len(parts) > 1 else ''}.",
            "a crosscoder of two models at one hook",
            "harvest with --second-model and one --hook, and train on that.",
        )
    if parts[0] != parts[1]:
        raise UserError(
            f"The two sites have widths {parts[0]} and {parts[1]}.",
            "one width: the direction of a latent in one model is looked for in the other",
            "compare two models of one width, such as a model and its fine-tuned version.",
        )
    scales = dictionary.site_scales()
    rows = torch.stack(dictionary.W_dec.detach().split(list(parts), dim=-1)) * scales[:, None, None]
    norms = rows.norm(dim=-1)
    dots = (rows[0] * rows[1]).sum(-1)
    return Directions(
        rows, scales, norms[1] / norms.sum(0), dots / norms.prod(0).clamp_min(torch.finfo(dots.dtype).tiny)
    )


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


class LatentScaling:
    """Sums over tokens from which the factors of latent scaling follow in closed form, one set for each latent.

    Let `m` be the model in which latent j has the longer decoder row `d`, `o` the other one, and `f` its activation,
    everything in units of each site's scale. For a target `y` the factor is `argmin_b Σ |b f d - y|² = Σ f <d, y> /
    (|d|² Σ f²)`. Targets, in either model:

    - error: the activation less the reconstruction without latent j, `x - x_hat + f d'` with `d'` the latent's row in
    that model;
    - reconstruction: what all latents write, latent j included, without the decoder's bias: `x_hat - b_dec`.

    The ratio `nu` is the factor in `o` over the factor in `m`. The authors' code computes the same, but leaves the bias
    in the reconstruction; we leave it out, since a constant of the other model is nothing that its latents say. They
    look at latents of the second model only and at norms of activations as they come; we follow the longer row,
    whichever model it is in. Sums are float64 and run over the active (token, latent) pairs alone.
    """

    def __init__(self, found: Directions, b_dec: Float[Tensor, " d_out"]):
        d_sae = found.rows.shape[1]
        norms = found.rows.norm(dim=-1)
        self.d_sae, self._found, self._b_dec = d_sae, found, b_dec.detach()
        self._own = (norms[1] > norms[0]).long()
        both = torch.arange(d_sae)
        self._rows = found.rows[self._own, both]
        own, other = self._rows.double(), found.rows[1 - self._own, both].double()
        self._square, self._cross = own.square().sum(-1), (own * other).sum(-1)
        self.n_tokens = 0
        self.n_active = torch.zeros(d_sae, dtype=torch.long)
        self.sums = torch.zeros(5, d_sae, dtype=torch.float64)
        """Of f², and of f times the product with: own error, other error, own reconstruction, other reconstruction."""

    def update(self, x: Float[Tensor, "n d_in"], codes: Codes, x_hat: Float[Tensor, "n d_in"]) -> None:
        """Add tokens: activations of both sites side by side, their codes, and the reconstruction."""
        n, scales = len(x), self._found.scales[:, None, None]
        errors = torch.stack((x - x_hat).chunk(2, dim=-1)) * scales
        written = torch.stack((x_hat - self._b_dec).chunk(2, dim=-1)) * scales
        latents, f = codes.indices, codes.values.double()
        own = self._own[latents]
        places = codes.rows + n * torch.stack([own, 1 - own])
        self.n_tokens += n
        self.n_active += torch.bincount(latents, minlength=self.d_sae)
        columns = [f] + [
            pair_dots(target.flatten(0, 1), self._rows, where, latents).double()
            for target in (errors, written)
            for where in places
        ]
        for total, column in zip(self.sums, columns, strict=True):
            total += torch.bincount(latents, f * column, self.d_sae)

    def merge(self, other: "LatentScaling") -> None:
        """Add what another pass over other tokens summed, of the same dictionary."""
        self.n_tokens += other.n_tokens
        self.n_active += other.n_active
        self.sums += other.sums

    def finish(self) -> LatentDiff:
        """Factors and ratios of all latents."""
        f_square, error_own, error_other, written_own, written_other = self.sums
        # A latent's own contribution is left out of the reconstruction that its error is taken from: added back here,
        # once for all tokens.
        error_own, error_other = error_own + f_square * self._square, error_other + f_square * self._cross
        weight = self._square * f_square
        betas = [(part / weight).numpy() for part in (error_own, error_other, written_own, written_other)]
        relative = self._found.relative_norm.double().numpy()
        return LatentDiff(
            relative_norm=relative,
            cosine=self._found.cosine.double().numpy(),
            label=labels(relative),
            own=self._own.numpy(),
            n_active=self.n_active.numpy(),
            beta_error_own=betas[0],
            beta_error_other=betas[1],
            beta_reconstruction_own=betas[2],
            beta_reconstruction_other=betas[3],
            nu_error=_ratio(betas[1], betas[0]),
            nu_reconstruction=_ratio(betas[3], betas[2]),
        )


def diff_figures(found: LatentDiff, n_tokens: int) -> list[Figure]:
    """Share of each class among the latents that were active, of those of one model that are truly specific, and how
    alike the rows of shared latents are, with intervals over latents.

    A latent of one model is truly specific if both `nu_error` and `nu_reconstruction` are below `SPECIFIC_BELOW`.
    """
    active = found.n_active > 0
    where = f"over {n_tokens:,} counted tokens of test documents; 95 % bootstrap interval over latents"
    words = {
        "only_a": f"relative decoder norm |d_B| / (|d_A| + |d_B|) is below {ONE_SIDED:g}",
        "only_b": f"relative decoder norm |d_B| / (|d_A| + |d_B|) is above {1 - ONE_SIDED:g}",
        "shared": f"relative decoder norm is between {SHARED[0]:g} and {SHARED[1]:g}",
        "other": "relative decoder norm fits none of the other classes",
    }
    figures = [
        _share(
            f"diff/{name}_share",
            found.label[active] == name,
            f"share of active latents whose {words[name]}, norms in units of each model's scale, {where}",
        )
        for name in DIFF_CLASSES
    ]
    specific = is_specific(found)
    for name, other in (("only_a", "second"), ("only_b", "first")):
        figures.append(
            _share(
                f"diff/{name}_specific_share",
                specific[active & (found.label == name)],
                f"share of active latents of class {name} whose direction is truly absent from the {other} model: "
                "nu_error and nu_reconstruction "
                f"(latent scaling, arXiv:2504.02922) both below {SPECIFIC_BELOW:g}, {where}",
            )
        )
    figures.append(
        _mean(
            "diff/shared_cosine",
            found.cosine[active & (found.label == "shared")],
            f"mean cosine of the two decoder rows of active shared latents, {where}; near 0 the models have no "
            "directions in common (they were "
            "trained apart), and latent scaling says nothing about what either of them knows",
        )
    )
    return figures


def is_specific(found: LatentDiff) -> NDArray[np.bool_]:
    """`[d_sae]`, whether both ratios are below `SPECIFIC_BELOW`; False where they are not known."""
    return (found.nu_error < SPECIFIC_BELOW) & (found.nu_reconstruction < SPECIFIC_BELOW)


def _ratio(other: Floats, own: Floats) -> Floats:
    return np.divide(other, own, out=np.full_like(own, np.nan), where=own > 0)


def _share(name: str, which: NDArray[np.bool_], definition: str) -> Figure:
    return _mean(name, which.astype(np.float64), definition)


def _mean(name: str, values: Floats, definition: str) -> Figure:
    if not len(values):
        return Figure(name=name, definition=definition, failure="no latent of this kind was active")
    table = np.stack([values, np.ones(len(values))], axis=1)
    found = bootstrap_interval(table, lambda s: s[..., 0] / s[..., 1], n_draws=200)
    low, high = (end if np.isfinite(end) else None for end in found[1:])
    return Figure(name=name, value=found.value, ci_low=low, ci_high=high, n=len(values), definition=definition)
