"""Colour and shape: a code of four combinations or of two colours and two shapes, by sparsity and width."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sparselex.activations.known.pairs import TwoAttributes
from sparselex.evaluate.doomed.draws import Drawn, Place, fvu, trained
from sparselex.evaluate.doomed.seen import Chance, RunSeen, Seen, Sees, chance_of, unit

FOUND = 0.9
"""F1 from which a value, or a combination, counts as found."""

_N_RANDOM = 10
"""Draws of as many random directions that fire as often."""

Setting = tuple[int, int, str, dict[str, Any]]
"""Values of each attribute, latents, name of the sparsity, and fields of dictionaries."""

SETTINGS: list[Setting] = [
    (2, 4, "k=1", {"kind": "topk", "k": 1}),
    (2, 4, "k=2", {"kind": "topk", "k": 2}),
    (2, 4, "l1=0.3", {"kind": "relu", "l1": 0.3}),
    (10, 20, "k=1", {"kind": "topk", "k": 1}),
    (10, 20, "k=2", {"kind": "topk", "k": 2}),
    (10, 20, "l1=1", {"kind": "relu", "l1": 1.0}),
    (10, 100, "k=1", {"kind": "topk", "k": 1}),
    (10, 100, "k=2", {"kind": "topk", "k": 2}),
    (10, 100, "l1=1", {"kind": "relu", "l1": 1.0}),
    (10, 400, "k=2", {"kind": "topk", "k": 2}),
]
"""Autoencoders that are trained."""

TRANSCODERS: list[Setting] = [(10, 100, "k=1", {"kind": "topk", "k": 1}), (10, 100, "k=2", {"kind": "topk", "k": 2})]

D_IN = {2: 8, 10: 32}
"""Width of the activations, by number of values."""


class Attributes:
    """Activations of two attributes, and the model behind them: two readouts, one of colour and one of shape."""

    def __init__(self, place: Place, n_values: int):
        self.n_values, config = n_values, place.config
        self.source = TwoAttributes(
            1.0, n_values=n_values, d_in=D_IN[n_values], batch_size=config.batch_size, seed=place.seed
        )
        samples = [self.source.sample(-number) for number in range(1, -(-config.n_held_out // config.batch_size) + 1)]
        self.x = torch.cat([x for x, _ in samples])
        self.values = torch.from_numpy(np.concatenate([values for _, values in samples], axis=1))
        large, small = self.source.large, self.source.small
        # Directions by which values differ from their mean, and what reads each of them alone.
        self.centre = large.mean(0) + small.mean(0)
        steps = torch.cat([large - large.mean(0), small - small.mean(0)]).double()
        self.readouts = torch.linalg.pinv(steps, rtol=1e-6).T.float()

    def outputs(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        """Which colour and which shape it is, less their means: what the model computes."""
        return (x - self.centre) @ self.readouts.T

    def targets(self) -> tuple[Bool[Tensor, "n c"], Bool[Tensor, "n v"]]:
        """Which combination each sample is, and which values it has."""
        colour, shape = self.values
        both = functional.one_hot(colour * self.n_values + shape, self.n_values**2)
        each = [functional.one_hot(one, self.n_values) for one in (colour, shape)]
        return both.bool(), torch.cat(each, dim=1).bool()

    def purity(self, rows: Float[Tensor, "m d"]) -> float:
        """How far each direction is read by one of the two readouts alone: the larger of the two shares, mean over
        directions. 1/2 is read by both alike."""
        colour, shape = (unit(rows) @ self.readouts.T).square().unflatten(1, (2, -1)).sum(-1).unbind(1)
        return float((torch.maximum(colour, shape) / (colour + shape).clamp_min(1e-12)).mean())


def measure(
    place: Place, settings: Sequence[Setting] = SETTINGS, transcoders: Sequence[Setting] = TRANSCODERS
) -> RunSeen:
    """One run: which code every type and size of dictionary finds."""
    toys = {n_values: Attributes(place, n_values) for n_values in D_IN}
    rows = list[Seen]()
    for n_values, d_sae, name, fields in settings:
        toy = toys[n_values]
        at = f"{n_values}x{n_values}, {d_sae} latents, {name}"
        dictionary = trained(toy.source, place, _word(at), d_sae=d_sae, **fields)
        acts, x_hat = dictionary.encode(toy.x).detach(), dictionary(toy.x).detach()
        live = (acts != 0).any(0)
        more, chance = _purity(toy, dictionary.directions()[live], place)
        rows.append(_seen(fields["kind"], at, "activations", acts != 0, fvu(x_hat, toy.x), toy, place, more, chance))
    for n_values, d_sae, name, fields in transcoders:
        toy = toys[n_values]
        at = f"{n_values}x{n_values}, {d_sae} latents, {name}"
        source = Drawn(partial(_samples, toy), place.seed, place.config.batch_size, toy.outputs)
        transcoder = trained(source, place, _word(f"transcoder {at}"), d_sae=d_sae, **fields)
        acts, y = transcoder.encode(toy.x).detach(), toy.outputs(toy.x)
        error = fvu(transcoder(toy.x).detach(), y)
        rows.append(_seen("transcoder", at, "model", acts != 0, error, toy, place, {}, {}))
    for n_values, toy in toys.items():
        on = toy.outputs(toy.x) > 0.5 - 1 / n_values
        at = f"{n_values}x{n_values}"
        rows.append(_seen("gradients of each readout", at, "model", on, float("nan"), toy, place, {}, {}))
    return RunSeen(rows, {})


def _samples(toy: Attributes, generator: torch.Generator, n: int) -> Float[Tensor, "n d"]:
    i, j = torch.randint(toy.n_values, (2, n), generator=generator)
    return toy.source.large[i] + toy.source.small[j]


def _seen(
    method: str,
    setting: str,
    sees: Sees,
    on: Bool[Tensor, "n m"],
    error: float,
    toy: Attributes,
    place: Place,
    more: dict[str, float],
    chance: dict[str, Chance],
) -> Seen:
    both, each = toy.targets()
    values = {
        "composed": _found(on, both),
        "product": _found(on, each),
        "l0": float(on.sum(1).float().mean()),
        "n_directions": float(on.any(0).sum()),
    } | more
    if error == error:
        values["fvu"] = error
    draws = place.generator("fires as often", setting)
    random = [_as_often(on, toy.x, draws) for _ in range(_N_RANDOM)]
    by_chance = {
        name: _chance([_found(one, target) for one in random])
        for name, target in (("composed", both), ("product", each))
    }
    return Seen(method, setting, sees, values, by_chance | chance)


def _found(on: Bool[Tensor, "n m"], target: Bool[Tensor, "n t"]) -> float:
    """Share of targets for which some latent's F1 is `FOUND` or more."""
    together = on.float().T @ target.float()
    f1 = 2 * together / (on.sum(0)[:, None] + target.sum(0)).clamp_min(1)
    return float((f1.max(0).values >= FOUND).float().mean())


def _as_often(on: Bool[Tensor, "n m"], x: Float[Tensor, "n d"], draws: torch.Generator) -> Bool[Tensor, "n m"]:
    """Random directions, each above the threshold at which it fires in as many samples as a latent does."""
    scores = (x - x.mean(0)) @ torch.randn(x.shape[1], on.shape[1], generator=draws)
    counts = on.sum(0)
    thresholds = scores.sort(dim=0, descending=True).values.gather(0, (counts - 1).clamp_min(0)[None])
    return (scores >= thresholds) & (counts > 0)


def _chance(drawn: list[float]) -> Chance:
    return Chance(float(np.mean(drawn)), float(np.quantile(drawn, 0.95)))


def _purity(toy: Attributes, rows: Float[Tensor, "m d"], place: Place) -> tuple[dict[str, float], dict[str, Chance]]:
    if not len(rows):
        return {"purity": float("nan")}, {}
    n_draws = max(20, place.config.n_draws // 10)
    draws = place.generator("purity", len(rows))
    return {"purity": toy.purity(rows)}, {"purity": chance_of(toy.purity, len(rows), rows.shape[1], n_draws, draws)}


def _word(text: str) -> str:
    return text.replace(",", "").replace(" ", "-")
