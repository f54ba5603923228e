"""Stability between seeds: how many latents a dictionary shares with another that was trained alike.

Every claim is compared with what is stable though nobody trained it: random rows have a nearest neighbour, and in few
dimensions a near one; rows drawn where activations vary have a nearer one; and the activations themselves, of which two
samples share no token, are found again best of all.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sparselex.atlas.records import COVARIANCE, POINTS, RANDOM
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.vectors import unit_rows

MOST_MATCHED = 8192
"""Latents up to which a one-to-one matching is made: its time grows with their cube."""

SHARED_ABOVE = 0.7
"""Cosine from which a matched pair counts as one latent (Paulo and Belrose 2025, arXiv:2501.16615)."""

_CHUNK = 2048


class Pair(NamedTuple):
    """What one pair of dictionaries shares, latent by latent of the first."""

    nearest: Float[Tensor, " d_sae"]
    """Largest cosine of its decoder row with any of the other's."""

    matched: Float[Tensor, " d_sae"] | None
    """Cosine with its partner in the one-to-one matching with the largest sum; None above `MOST_MATCHED` latents."""

    shared: Bool[Tensor, " d_sae"] | None
    """Whether decoder and encoder matchings choose the same partner, both at `SHARED_ABOVE` or more; without an
    encoder, the decoder's."""


def compare(left: Dictionary, right: Dictionary) -> Pair:
    """Match the latents of two dictionaries of one shape by their directions; where codes are signed, opposite
    directions are the same."""
    signed = left.signed
    rows = left.directions(), right.directions()
    nearest = nearest_cosines(*rows, signed=signed)
    if len(rows[0]) > MOST_MATCHED:
        return Pair(nearest, None, None)
    partner, matched = _matched(*rows, signed=signed)
    shared = matched >= SHARED_ABOVE
    encoders = left.encoder_rows(), right.encoder_rows()
    if encoders[0] is not None and encoders[1] is not None:
        reader, read_alike = _matched(encoders[0], encoders[1], signed=signed)
        shared &= (reader == partner) & (read_alike >= SHARED_ABOVE)
    return Pair(nearest, matched, shared)


def stability_figures(
    dictionaries: Sequence[Dictionary], prefix: str, points: Float[Tensor, "n d_out"] | None = None
) -> list[Figure]:
    """Figures over all pairs of dictionaries that differ in their seed alone. Of fewer than two there are none.

    The null is the same of two samples of `points`, activations less their mean, as many in each as there are latents
    (where there are that many); rows of random direction and rows with the points' covariance stand among the controls.
    """
    pairs = [compare(a, b) for a, b in combinations(dictionaries, 2)]
    if not pairs:
        return []
    nulls, encoded = _nulls(dictionaries[0], points), dictionaries[0].encoder_rows() is not None
    agree = "matchings of decoder and encoder agree, both" if encoded else "matching is"
    generous = " (the null's directions are their own encoders, so that its matchings always agree)" if encoded else ""
    n = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of seeds, {len(pairs[0].nearest):,} latents each"
    where = f"{n}, same data in the same order; null: two samples of activations"
    words = {
        "nearest_cosine": "mean cosine of a latent's direction with the nearest one of the other seed",
        "matched_cosine": "mean cosine with the partner in the best one-to-one matching",
        "shared_share": f"share of latents whose {agree} at cosine {SHARED_ABOVE} or more{generous}",
    }
    parts = list(zip(*pairs, strict=True))  # as the fields of `Pair`, in the order of `words`
    return [
        _over_pairs(
            f"{prefix}/{name}", parts[place], {null: pair[place] for null, pair in nulls.items()}, f"{what}, {where}"
        )
        for place, (name, what) in enumerate(words.items())
    ]


def _over_pairs(name: str, values: Sequence[Tensor | None], nulls: Mapping[str, Tensor | None], words: str) -> Figure:
    """The mean over latents, each by its mean over all pairs."""
    known = [value for value in values if value is not None]
    if not known:
        reason = f"one-to-one matching is made up to {MOST_MATCHED:,} latents"
        return Figure(name=name, definition=words, failure=reason)
    each = torch.stack(known).double().mean(0)
    beside = {null: float(value.float().mean()) for null, value in nulls.items() if value is not None}
    null = beside.pop(POINTS, None)
    found = mean_figure(name, each.numpy(), words, over="latents", n=len(each) * len(known), null=null, better="higher")
    return found.model_copy(update={"controls": beside})


def _nulls(dictionary: Dictionary, points: Tensor | None) -> dict[str, Pair]:
    """What two dictionaries of this shape share where nothing was trained, by the name of the null."""
    rows, generator = dictionary.directions(), torch.Generator().manual_seed(derive(0, "chance"))

    def two(draw: Callable[[], Tensor]) -> Pair:
        # Later layers of a cross-layer transcoder write to few sites.
        left, right = (draw() * (rows != 0) for _ in range(2))
        return _untrained(left, right, signed=dictionary.signed)

    found = {RANDOM: two(lambda: torch.randn(rows.shape, generator=generator))}
    if points is None:
        return found
    variances, vectors = torch.linalg.eigh((points.double().T @ points.double()) / max(1, len(points)))
    spread = (vectors * variances.clamp_min(0).sqrt()).T.float()
    found[COVARIANCE] = two(lambda: torch.randn(rows.shape, generator=generator) @ spread)
    if len(points) >= 2 * len(rows):
        halves = iter(points[torch.randperm(len(points), generator=generator)[: 2 * len(rows)]].split(len(rows)))
        found[POINTS] = two(lambda: next(halves))
    return found


def _untrained(left: Tensor, right: Tensor, *, signed: bool) -> Pair:
    nearest = nearest_cosines(left, right, signed=signed)
    if len(left) > MOST_MATCHED:
        return Pair(nearest, None, None)
    matched = _matched(left, right, signed=signed)[1]
    # There is no encoder whose matching could disagree; the cosines alone are the generous bound.
    return Pair(nearest, matched, matched >= SHARED_ABOVE)


def _cosines(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, "n m"]:
    cosines = unit_rows(left) @ unit_rows(right).T
    return cosines.abs() if signed else cosines


def nearest_cosines(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, " n"]:
    """Of each row the largest cosine with any of the others; where codes are `signed`, whatever its sign."""
    return torch.cat([_cosines(part, right, signed=signed).amax(-1) for part in left.split(_CHUNK)])


def _matched(
    left: Float[Tensor, "n d"], right: Float[Tensor, "n d"], *, signed: bool
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The partner of each row in the one-to-one matching with the largest sum of cosines, and the cosine with it."""
    cosines = _cosines(left, right, signed=signed)
    partner = torch.from_numpy(linear_sum_assignment(cosines.numpy(), maximize=True)[1])
    return partner, cosines[torch.arange(len(cosines)), partner]
