"""Absorption and hedging, measured where parents and children are known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.source import KnownFeatures
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.files import fingerprint
from sparselex.dictionaries.controls.rows import random_rows
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.synthetic.figures import figures, value_of
from sparselex.evaluate.synthetic.measured import HeldOut, Measured, held_out, measure
from sparselex.evaluate.toys.records import Hierarchy
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

Floats = NDArray[np.float64]

_BATCH, _SAMPLES = 256, 40


def hierarchy(
    to: Path | str,
    child_given_parent: float,
    dictionary: dict[str, Any],
    *,
    d_sae: int,
    n_parents: int = 20,
    d_in: int = 32,
    l0: float = 3.0,
    n_steps: int = 2500,
    seed: int = 0,
) -> Hierarchy:
    """Train a dictionary on parents with one child each, which never fires alone, and measure what becomes of parents.

    *Absorption* (Chanin et al. 2024, arXiv:2409.14507): a latent of the child takes over what it has in common with the
    parent, whose own latent then falls silent. Measured as the recall of the parent's latent over tokens without the
    child less that over tokens with it, mean over parents. Null: the same with the child of another parent.

    *Hedging* (Chanin et al. 2025, arXiv:2505.11756): where there is no latent for the child, that of the parent leans
    towards it. Measured as the cosine of the parent's latent with what of the child's direction is at right angles to
    the parent's, mean over parents. Null: the same with the child of another parent.

    What is wrong with the measures: both speak of the latent that is *matched* to the parent by direction, and of
    nothing where none is matched; a child that nearly always fires with its parent cannot be told from it, so that with
    P(child | parent) near 1 hedging is no fault; and with few latents active at a time a parent's latent may be crowded
    out by any other, which the null has as well, but only on average.

    Args:
        to: folder of the dictionary that is trained; one that is there already is taken.
        child_given_parent: P(child | parent), above 0 and below 1.
        dictionary: `kind` and what else its configuration takes, such as `{"kind": "topk", "k": 3}`.
        d_sae: latents; `2 * n_parents` have room for all features, `n_parents` for half of them.
    """
    config = KnownConfig(
        d_in=d_in,
        n_features=2 * n_parents,
        l0=l0,
        zipf=0.0,
        n_trees=n_parents,
        n_children=1,
        depth=1,
        child_given_parent=child_given_parent,
        n_groups=0,
        seed=seed,
    )
    source = KnownFeatures(config, _BATCH)
    n_tokens = n_steps * _BATCH
    training = TrainConfig.parse(
        {"dictionary": {"d_in": d_in, "d_sae": d_sae, **dictionary}, "n_tokens": n_tokens, "batch_size": _BATCH}
        | {"seed": seed, "dead_after_tokens": max(1, n_tokens // 5), "log_steps": 100}
    )
    trained = train(source, training, Path(to), inputs={"known features": fingerprint(config.to_json())})
    held = held_out(KnownFeatures(config, _BATCH), _SAMPLES)
    found = measure(trained, held)
    random = random_rows(source.bias, d_sae, max(1, round(l0)), torch.Generator().manual_seed(seed))
    null = {"f1": value_of(measure(random, held), "f1")}
    return Hierarchy(
        child_given_parent=child_given_parent,
        d_sae=d_sae,
        n_features=config.n_features,
        absorption=_absorption(trained, found, held, n_parents),
        hedging=_hedging(trained, found, held, n_parents),
        f1=figures([found], nulls=null)["f1"],
    )


def _latents_of(found: Measured, n_parents: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The parents that have a latent, and these latents."""
    latents = np.flatnonzero((found.matching.feature >= 0) & (found.matching.feature < n_parents))
    return found.matching.feature[latents], latents


@torch.no_grad()
def _absorption(dictionary: Dictionary, found: Measured, held: HeldOut, n_parents: int) -> Figure:
    parents, latents = _latents_of(found, n_parents)
    encoded = [dictionary.encode(sample.x)[:, torch.from_numpy(latents)] for sample in held.samples]
    acts = torch.cat(encoded).numpy() * found.matching.sign[latents] > 0
    truth = _truth(held, 2 * n_parents)
    mine, others = n_parents + parents, n_parents + (parents + 1) % n_parents
    values, null = (_lost(acts, truth, parents, children) for children in (mine, others))
    words = (
        "recall of the parent's latent over tokens without its child less that over tokens with it, mean over parents "
        "that have a latent; null: with another's child"
    )
    return _mean("absorption", values, null, words)


def _lost(
    acts: NDArray[np.bool_], truth: NDArray[np.bool_], parents: NDArray[np.int64], children: NDArray[np.int64]
) -> Floats:
    """By parent, how much less often its latent is active where it and the child are."""
    fires, child = truth[:, parents], truth[:, children]
    with np.errstate(invalid="ignore"):
        without = (acts & fires & ~child).sum(0) / (fires & ~child).sum(0)
        together = (acts & fires & child).sum(0) / (fires & child).sum(0)
    lost = without - together
    return lost[np.isfinite(lost)]


def _hedging(dictionary: Dictionary, found: Measured, held: HeldOut, n_parents: int) -> Figure:
    parents, latents = _latents_of(found, n_parents)
    rows = torch.nn.functional.normalize(dictionary.W_dec.detach()[torch.from_numpy(latents)].double(), dim=-1).numpy()
    rows = rows * found.matching.sign[latents, None]
    directions = held.source.directions.double().numpy()
    mine, others = n_parents + parents, n_parents + (parents + 1) % n_parents
    values, null = (_leaning(rows, directions[parents], directions[children]) for children in (mine, others))
    words = (
        "cosine of the parent's latent with what of its child's direction is at right angles to the parent's, mean "
        "over parents that have a latent; null: with another's child"
    )
    return _mean("hedging", values, null, words)


def _leaning(rows: Floats, parents: Floats, children: Floats) -> Floats:
    apart = children - (children * parents).sum(1, keepdims=True) * parents
    return (rows * apart).sum(1) / np.linalg.norm(apart, axis=1)


def _truth(held: HeldOut, n_features: int) -> NDArray[np.bool_]:
    out = np.zeros((held.n_tokens, n_features), dtype=bool)
    starts = np.cumsum([0, *(len(sample.x) for sample in held.samples)])
    for start, sample in zip(starts, held.samples, strict=False):
        out[start + sample.truth.rows, sample.truth.features] = True
    return out


def _mean(name: str, values: Floats, null: Floats, words: str) -> Figure:
    by_chance = float(null.mean()) if len(null) else None
    return mean_figure(f"toys/hierarchy/{name}", values, words, over="parents", null=by_chance, better="lower")
