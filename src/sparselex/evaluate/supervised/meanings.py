"""Test 3 at one place: what latents stand for, beside random directions that fire as often."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import mean_figure
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.firing import Firing
from sparselex.evaluate.supervised.meaning import f1_of, f1_of_unions
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.pairs import labels_of
from sparselex.evaluate.supervised.place import AtPlace
from sparselex.evaluate.supervised.records import Meaning, Standing
from sparselex.evaluate.supervised.rows import Contestant


def meanings_of(
    at: AtPlace, one: Contestant, firing: Sequence[Mapping[Node, Firing]], path: str, config: TaskConfig
) -> tuple[list[Meaning], list[dict[Node, dict[str, Tensor]]]]:
    """Test 3, with the null of random directions that fire as often; and of each seed and node F1 by attribute, from
    the prompts that dictionaries are made of."""
    f1s = list[dict[Node, dict[str, Tensor]]]()
    found: dict[str, list[_Known]] = {attribute: [] for attribute in at.prompts.test.values}
    fit, test = labels_of(at.prompts.fit), labels_of(at.prompts.test)
    for group in firing:
        f1s.append({node: {} for node in group})
        for node, fires in group.items():
            for attribute, values in at.prompts.test.values.items():
                labels = fit[attribute], test[attribute]
                own = _known(fires.fit, fires.there, labels, len(values), config)
                found[attribute].append(
                    _Known(own, _known(fires.null_fit, fires.null_there, labels, len(values), config))
                )
                f1s[-1][node][attribute] = own.scores
    return [_meaning(path, attribute, of, at, one, config) for attribute, of in found.items()], f1s


class _Scores(NamedTuple):
    """Of each value that occurs: F1 on tested prompts of the latent that was best on others, whether it is above the
    threshold on both, and which latent; the mean of unions over latents; and F1 of all on the other prompts."""

    f1: NDArray[np.float64]
    is_known: NDArray[np.float64]
    latent: NDArray[np.int64]
    unions: float
    scores: Tensor


class _Known(NamedTuple):
    """Of a dictionary, and of random directions that fire as often."""

    own: _Scores
    null: _Scores


def _known(
    fires: Bool[Tensor, "n d_sae"],
    tested: Bool[Tensor, "m d_sae"],
    labels: tuple[Int[Tensor, " n"], Int[Tensor, " m"]],
    n_values: int,
    config: TaskConfig,
) -> _Scores:
    scores, on_test = f1_of(fires, labels[0], n_values), f1_of(tested, labels[1], n_values)
    best = scores.argmax(0)
    occurs = torch.bincount(labels[1], minlength=n_values) > 0
    held_out = on_test[best, torch.arange(n_values)][occurs]
    both = (held_out >= config.known_for) & (scores.amax(0)[occurs] >= config.known_for)
    unions = f1_of_unions(tested, labels[1], n_values, scores)[tested.any(0)]
    mean = float(unions.mean()) if len(unions) else 0.0
    return _Scores(held_out.double().numpy(), both.double().numpy(), best[occurs].numpy(), mean, scores)


def _meaning(
    path: str, attribute: str, found: Sequence[_Known], at: AtPlace, one: Contestant, config: TaskConfig
) -> Meaning:
    own, null = (
        {name: np.mean([getattr(scores, name) for scores in column], axis=0) for name in ("f1", "is_known", "unions")}
        for column in zip(*found, strict=True)
    )
    over = f"values of {attribute}"
    f1 = mean_figure(
        f"{path}/{attribute}/f1",
        own["f1"],
        f"mean over values of {attribute} of the F1, on tested prompts, of the latent that is best for the value on "
        "the prompts that dictionaries are made of; null: random directions that fire as often",
        over=over,
        null=float(null["f1"].mean()),
        better="higher",
        share=True,
    )
    known = mean_figure(
        f"{path}/{attribute}/known",
        own["is_known"],
        f"share of the values of {attribute} for which that latent has an F1 of {config.known_for:g} or more on both; "
        "null: random directions that fire as often",
        over=over,
        null=float(null["is_known"].mean()),
        better="higher",
        share=True,
    )
    unions = mean_figure(
        f"{path}/{attribute}/unions",
        np.array([one.own.unions for one in found]),
        "mean over latents that fire of the F1 of the best union of up to ten values; null: random directions that "
        "fire as often",
        over="dictionaries",
        null=float(null["unions"]),
        better="higher",
        share=True,
    )
    latents = list(_standing(attribute, found[0], at)) if one.run else []
    return Meaning(attribute=attribute, f1=f1, n_known=known, unions=unions, latents=latents)


def _standing(attribute: str, known: _Known, at: AtPlace) -> Iterator[Standing]:
    """The latent that stands best for each value that tested prompts have."""
    occurring = sorted(set(at.prompts.test.attributes[attribute].tolist()))
    for place, number in enumerate(occurring):
        yield Standing(
            value=at.prompts.test.values[attribute][number],
            latent=int(known.own.latent[place]),
            f1=float(known.own.f1[place]),
            null=float(known.null.f1[place]),
        )
