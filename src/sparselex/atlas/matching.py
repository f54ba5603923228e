"""Stability between seeds: how many latents a dictionary shares with another that was trained alike.

Both claims are compared with chance: even random rows have a nearest neighbour, and in few dimensions a near one.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sparselex.base.figures import Figure
from sparselex.base.intervals import bootstrap_interval
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import Dictionary

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

    shared: NDArray[np.bool_] | None
    """Whether decoder and encoder matchings choose the same partner, both at `SHARED_ABOVE` or more; without an
    encoder, the decoder's."""


def compare(left: Dictionary, right: Dictionary, *, signed: bool = False) -> Pair:
    """Match the latents of two dictionaries of one shape by their directions; with `signed`, opposite directions are
    the same."""
    rows = left.directions(), right.directions()
    nearest = _nearest(*rows, signed=signed)
    if len(rows[0]) > MOST_MATCHED:
        return Pair(nearest, None, None)
    cosines = _cosines(*rows, signed=signed)
    partner = _match(cosines)
    matched = cosines[torch.arange(len(cosines)), partner]
    shared = matched >= SHARED_ABOVE
    encoders = left.encoder_rows(), right.encoder_rows()
    if encoders[0] is not None and encoders[1] is not None:
        read = _cosines(encoders[0], encoders[1], signed=signed)
        reader = _match(read)
        shared &= (reader == partner) & (read[torch.arange(len(read)), reader] >= SHARED_ABOVE)
    return Pair(nearest, matched, shared.numpy())


def stability_figures(dictionaries: list[Dictionary], prefix: str, *, signed: bool = False) -> list[Figure]:
    """Figures over all pairs of dictionaries that differ in their seed alone; the null is the same against random unit
    rows.

    Raises nothing: with fewer than two dictionaries there are no figures.
    """
    pairs = [compare(a, b, signed=signed) for a, b in combinations(dictionaries, 2)]
    if not pairs:
        return []
    null = _chance(dictionaries[0], signed=signed)
    n_pairs = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of seeds"
    where = (
        f"{n_pairs}, {len(pairs[0].nearest):,} latents each, same data in the same order; "
        "95 % bootstrap interval over latents; null: random rows"
    )
    found = [
        _mean(
            f"{prefix}/nearest_cosine",
            [p.nearest for p in pairs],
            null.nearest,
            f"mean cosine of a latent's direction with the nearest one of the other seed, {where}",
        )
    ]
    if pairs[0].matched is None:
        reason = f"one-to-one matching is made up to {MOST_MATCHED:,} latents"
        return [
            *found,
            Figure(name=f"{prefix}/matched_cosine", definition=where, failure=reason),
            Figure(name=f"{prefix}/shared_share", definition=where, failure=reason),
        ]
    found.append(
        _mean(
            f"{prefix}/matched_cosine",
            [p.matched for p in pairs],
            null.matched,
            f"mean cosine with the partner in the best one-to-one matching, {where}",
        )
    )
    shares = [torch.from_numpy(p.shared).float() for p in pairs if p.shared is not None]
    by_chance = None if null.shared is None else torch.from_numpy(null.shared).float()
    reads = dictionaries[0].encoder_rows() is not None
    agree = "matchings of decoder and encoder agree, both" if reads else "matching is"
    words = f"share of latents whose {agree} at cosine {SHARED_ABOVE} or more, {where}"
    return [*found, _mean(f"{prefix}/shared_share", shares, by_chance, words)]


def _mean(name: str, values: Sequence[Tensor | None], null: Tensor | None, definition: str) -> Figure:
    table = torch.stack([value for value in values if value is not None]).double().mean(0)  # one number for each latent
    found = bootstrap_interval(
        np.stack([table.numpy(), np.ones(len(table))], axis=1), lambda s: s[..., 0] / s[..., 1], n_draws=200
    )
    return Figure(
        name=name,
        value=found.value,
        ci_low=found.low,
        ci_high=found.high,
        n=len(table) * len(values),
        null=None if null is None else float(null.mean()),
        definition=definition,
    )


def _chance(dictionary: Dictionary, *, signed: bool) -> Pair:
    generator = torch.Generator().manual_seed(derive(0, "chance"))
    rows = dictionary.directions()
    # Later layers of a cross-layer transcoder write to few sites.
    random = torch.randn(rows.shape, generator=generator) * (rows != 0)
    nearest = _nearest(rows, random, signed=signed)
    if len(rows) > MOST_MATCHED:
        return Pair(nearest, None, None)
    cosines = _cosines(rows, random, signed=signed)
    matched = cosines[torch.arange(len(cosines)), _match(cosines)]
    # An independent second matching agrees with the first for one latent in d_sae; the cosines alone are the generous
    # bound.
    return Pair(nearest, matched, (matched >= SHARED_ABOVE).numpy())


def _cosines(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, "n m"]:
    unit = [part / part.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(part.dtype).tiny) for part in (left, right)]
    cosines = unit[0] @ unit[1].T
    return cosines.abs() if signed else cosines


def _nearest(left: Float[Tensor, "n d"], right: Float[Tensor, "m d"], *, signed: bool) -> Float[Tensor, " n"]:
    return torch.cat([_cosines(part, right, signed=signed).amax(-1) for part in left.split(_CHUNK)])


def _match(cosines: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """The partner of each row in the one-to-one matching with the largest sum."""
    return torch.from_numpy(linear_sum_assignment(cosines.numpy(), maximize=True)[1])
