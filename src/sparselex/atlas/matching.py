"""Stability between seeds: how many latents a dictionary shares with another that was trained alike.

Both claims are compared with chance: even random rows have a nearest neighbour, and in few dimensions a near one.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

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
    nearest = _nearest(*rows, signed=signed)
    if len(rows[0]) > MOST_MATCHED:
        return Pair(nearest, None, None)
    partner, matched = _matched(*rows, signed=signed)
    shared = matched >= SHARED_ABOVE
    encoders = left.encoder_rows(), right.encoder_rows()
    if encoders[0] is not None and encoders[1] is not None:
        reader, read_alike = _matched(encoders[0], encoders[1], signed=signed)
        shared &= (reader == partner) & (read_alike >= SHARED_ABOVE)
    return Pair(nearest, matched, shared)


def stability_figures(dictionaries: Sequence[Dictionary], prefix: str) -> list[Figure]:
    """Figures over all pairs of dictionaries that differ in their seed alone; the null is the same against random rows.
    Of fewer than two dictionaries there are none."""
    pairs = [compare(a, b) for a, b in combinations(dictionaries, 2)]
    if not pairs:
        return []
    null, encoded = _chance(dictionaries[0]), dictionaries[0].encoder_rows() is not None
    agree = "matchings of decoder and encoder agree, both" if encoded else "matching is"
    n = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of seeds, {len(pairs[0].nearest):,} latents each"
    where = f"{n}, same data in the same order; null: random rows"
    words = {
        "nearest_cosine": "mean cosine of a latent's direction with the nearest one of the other seed",
        "matched_cosine": "mean cosine with the partner in the best one-to-one matching",
        "shared_share": f"share of latents whose {agree} at cosine {SHARED_ABOVE} or more",
    }
    parts = list(zip(*pairs, strict=True))  # as the fields of `Pair`, in the order of `words`
    return [
        _over_pairs(f"{prefix}/{name}", values, by_chance, f"{what}, {where}")
        for (name, what), values, by_chance in zip(words.items(), parts, null, strict=True)
    ]


def _over_pairs(name: str, values: Sequence[Tensor | None], null: Tensor | None, words: str) -> Figure:
    """The mean over latents, each by its mean over all pairs."""
    known = [value for value in values if value is not None]
    if not known:
        reason = f"one-to-one matching is made up to {MOST_MATCHED:,} latents"
        return Figure(name=name, definition=words, failure=reason)
    each = torch.stack(known).double().mean(0)
    by_chance = None if null is None else float(null.float().mean())
    return mean_figure(name, each.numpy(), words, over="latents", n=len(each) * len(known), null=by_chance)


def _chance(dictionary: Dictionary) -> Pair:
    signed, rows = dictionary.signed, dictionary.directions()
    generator = torch.Generator().manual_seed(derive(0, "chance"))
    # Later layers of a cross-layer transcoder write to few sites.
    random = torch.randn(rows.shape, generator=generator) * (rows != 0)
    nearest = _nearest(rows, random, signed=signed)
    if len(rows) > MOST_MATCHED:
        return Pair(nearest, None, None)
    matched = _matched(rows, random, signed=signed)[1]
    # An independent second matching agrees with the first for one latent in d_sae; the cosines alone are the generous
    # bound.
    return Pair(nearest, matched, matched >= SHARED_ABOVE)


def _cosines(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, "n m"]:
    cosines = unit_rows(left) @ unit_rows(right).T
    return cosines.abs() if signed else cosines


def _nearest(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, " n"]:
    return torch.cat([_cosines(part, right, signed=signed).amax(-1) for part in left.split(_CHUNK)])


def _matched(
    left: Float[Tensor, "n d"], right: Float[Tensor, "n d"], *, signed: bool
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The partner of each row in the one-to-one matching with the largest sum of cosines, and the cosine with it."""
    cosines = _cosines(left, right, signed=signed)
    partner = torch.from_numpy(linear_sum_assignment(cosines.numpy(), maximize=True)[1])
    return partner, cosines[torch.arange(len(cosines)), partner]
