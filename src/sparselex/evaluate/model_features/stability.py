"""Whether latents are there again in other dictionaries of the same site: trained from another seed, on other text,
wider, or for what the model predicts.

A latent is found again where the cosine of its direction with the nearest one of the other dictionary is 0.7 or more.
What is found of directions drawn as activations vary, as many as the other has, is chance: in few dimensions much is
(the largest of m cosines of random directions in d dimensions is about the root of 2 ln m / d). Of two dictionaries of
one width the stricter share is told too, of latents whose partners in the best matchings of decoders and of encoders
agree (Paulo and Belrose 2025, arXiv:2501.16615). If latents that only one of them has are less relevant to the model
than those that both have, they are more of the activations than of it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.atlas.matching import MOST_MATCHED, SHARED_ABOVE, compare, nearest_cosines
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import derive
from sparselex.dictionaries.controls.rows import covariance_matched_rows
from sparselex.evaluate.model_features.asked import Asked, Other, unit
from sparselex.evaluate.model_features.records import KIND, Compared, LatentOfModel, Part, Relevance
from sparselex.evaluate.superiority import Sample, superiority_figure

_THIRD = 3
"""Parts of equal number into which latents are divided by the variance of what they write."""


def stability(asked: Asked, read: Relevance) -> Part:
    """How far the latents of a dictionary are there again in others; `read` says how relevant they are."""
    compared, found = [], dict[str, dict[int, float]]()
    for run, other in asked.others.items():
        nearest = _nearest(asked, other)
        figures = list(_figures(asked, other, nearest, read.latents))
        compared.append(Compared(run=run, words=other.words, figures=figures))
        alive = [one.latent for one in read.latents]
        found[f"{KIND}/nearest/{run}"] = dict(zip(alive, nearest[alive].tolist(), strict=True))
    return Part(compared=compared, measured=found)


def _nearest(asked: Asked, other: Other) -> NDArray[np.float64]:
    """`[d_sae]`, the cosine of each latent with the nearest of the other."""
    theirs = unit(_rows(asked, other))
    alive = theirs.norm(dim=-1) > 0
    signed = asked.dictionary.signed or other.dictionary.signed
    found: NDArray[np.float64] = nearest_cosines(unit(asked.directions), theirs[alive], signed=signed).double().numpy()
    return found


def _rows(asked: Asked, other: Other) -> Tensor:
    return other.dictionary.W_dec.detach().float().cpu()[:, asked.columns]


def _figures(
    asked: Asked, other: Other, nearest: NDArray[np.float64], latents: list[LatentOfModel]
) -> Iterator[Figure]:
    alive = np.array([one.latent for one in latents])
    again, n_other = nearest[alive] >= SHARED_ABOVE, other.dictionary.d_sae
    chance = _chance(asked, n_other)
    words = f"share of active latents whose direction has a cosine of {SHARED_ABOVE} or more with one of the other's"
    null = f"null: of as many directions drawn as activations vary as the other has, {n_other:,}"
    yield _share(f"{KIND}/found_again", again, f"{words}; {null}", chance)
    variance = np.array([one.variance for one in latents])
    order = np.array_split(np.argsort(variance, kind="stable"), _THIRD)
    for name, part, which in (
        ("least", order[0], "of the third that writes with the least variance"),
        ("most", order[-1], "of the third that writes with the most variance"),
    ):
        yield _share(f"{KIND}/found_again_{name}", again[part], f"{words}, {which}; {null}", chance)
    if other.dictionary.d_sae == asked.dictionary.d_sae <= MOST_MATCHED:
        shared = compare(asked.dictionary, other.dictionary).shared
        if shared is not None:
            yield _share(
                f"{KIND}/shared",
                shared.numpy()[alive],
                "share of active latents with the same partner in the best one-to-one matchings of decoders and of "
                f"encoders, both at a cosine of {SHARED_ABOVE} or more; null: none, nearly",
                0.0,
            )
    relevance = np.array([one.relevance for one in latents])
    yield superiority_figure(
        f"{KIND}/shared_more_relevant",
        Sample(relevance[again], None),
        Sample(relevance[~again], None),
        "chance that a latent that the other has too is more relevant to the model than one that only this one has",
        None,
    )
    yield from other.known


def _share(name: str, flags: NDArray[np.bool_], words: str, null: float) -> Figure:
    return mean_figure(name, flags, words, over="latents", share=True, null=null, better="higher")


def _chance(asked: Asked, n_other: int) -> float:
    """The share of latents that is found again in directions drawn as activations vary."""
    rng = torch.Generator().manual_seed(derive(asked.config.seed, "model features", "stability"))
    mean = asked.sample.mean(0)
    drawn = unit(covariance_matched_rows(mean, asked.covariance, n_other, 1, rng, n_steps=1).directions())
    alive = (asked.variances > 0).nonzero()[:, 0]
    found = nearest_cosines(unit(asked.directions)[alive], drawn, signed=asked.dictionary.signed)
    return float((found >= SHARED_ABOVE).double().mean())
