"""Occlusion: of two attributes a heavily penalised dictionary finds the long one and hardly the short one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.known.pairs import TwoAttributes
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.toys.records import Occlusion
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

_HELD_OUT = 40
"""Held-out samples."""

Floats = NDArray[np.float64]


def occlusion(
    to: Path | str,
    ratio: float,
    dictionary: dict[str, Any],
    *,
    d_sae: int = 256,
    n_values: int = 50,
    d_in: int = 64,
    n_steps: int = 2500,
    threshold: float = 0.9,
    seed: int = 0,
) -> Occlusion:
    """Train a dictionary on `x = u[i] + v[j]`, u being `ratio` times as long as v, and count whose values it finds.

    A value is found where some latent's F1 for it is at least `threshold` on held-out samples. The null is that of as
    many random directions, each with the threshold at which it fires as often as the latent in whose place it stands
    (latents that never fire stay silent). After Makelov, Lange and Nanda 2024 (arXiv:2405.08366, section on occlusion).

    What is wrong with the measure: the best of `d_sae` latents is taken for every value, which is why it needs its
    null; and a value that is shared among several latents counts as not found, whatever they say together.

    Args:
        to: folder of the dictionary that is trained; one that is there already is taken.
        dictionary: `kind` and what else its configuration takes, such as `{"kind": "relu", "l1": 10.0}`. Penalties are
            for activations scaled to E|x|² = d_in, as everywhere here.
        n_steps: batches of 256.
    """
    source = TwoAttributes(ratio, n_values=n_values, d_in=d_in, seed=seed)
    fields = {"d_in": d_in, "d_sae": d_sae, **dictionary}
    n_tokens = n_steps * source.batch_size
    config = TrainConfig.parse(
        {"dictionary": fields, "n_tokens": n_tokens, "batch_size": source.batch_size, "seed": seed}
        | {"dead_after_tokens": max(1, n_tokens // 5), "log_steps": 100}
    )
    trained = train(source, config, Path(to), inputs={"two attributes": f"{ratio} {n_values} {d_in} {seed}"})
    x, values = _held_out(source)
    active = _active(trained, x)
    random = _as_often(active, x, seed)
    found, by_chance = ([_best_f1(one, part, n_values) for part in values] for one in (active, random))
    large, small = (
        _found(name, mine, null, threshold, n_values)
        for name, mine, null in zip(("large", "small"), found, by_chance, strict=True)
    )
    l0 = float(active.float().sum(1).mean())
    return Occlusion(ratio=ratio, kind=dictionary["kind"], threshold=threshold, large=large, small=small, l0=l0)


def _held_out(source: TwoAttributes) -> tuple[Tensor, NDArray[np.int64]]:
    samples = [source.sample(-number) for number in range(1, _HELD_OUT + 1)]
    return torch.cat([x for x, _ in samples]), np.concatenate([values for _, values in samples], axis=1)


@torch.no_grad()
def _active(dictionary: Dictionary, x: Tensor) -> Tensor:
    return dictionary.encode(x) != 0


def _as_often(active: Tensor, x: Tensor, seed: int) -> Tensor:
    """Random directions, each above the threshold at which it fires in as many samples as a latent does."""
    draws = torch.Generator().manual_seed(derive(seed, "random rows"))
    scores = (x - x.mean(0)) @ torch.randn(x.shape[1], active.shape[1], generator=draws)
    ranks = scores.argsort(dim=0, descending=True).argsort(dim=0)
    return ranks < active.sum(0)


def _best_f1(active: Tensor, values: NDArray[np.int64], n_values: int) -> Floats:
    """`[n_values]`, the largest F1 of any latent for each value."""
    is_value = torch.nn.functional.one_hot(torch.from_numpy(values), n_values).float()
    both = active.float().T @ is_value
    f1 = 2 * both / (active.sum(0)[:, None] + is_value.sum(0)).clamp_min(1)
    return f1.max(0).values.double().numpy()


def _found(name: str, mine: Floats, null: Floats, threshold: float, n_values: int) -> Figure:
    words = f"share of the {name} attribute's {n_values} values for which some latent's F1 is {threshold:g} or more"
    return mean_figure(
        f"toys/occlusion/{name}_found",
        mine >= threshold,
        f"{words}; null: random rows that fire as often",
        over="values",
        null=float((null >= threshold).mean()),
        better="higher",
    )
