"""Two numbers that always lie on one curve, and a model that treats them as unrelated."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.evaluate.doomed.draws import Draw, Drawn, Place, components, fvu, trained
from sparselex.evaluate.doomed.nets import Nets, train_nets
from sparselex.evaluate.doomed.scaffolding import output_metric
from sparselex.evaluate.doomed.seen import NOTHING, RunSeen, Seen, Sees, chance_of, unit

N_HIDDEN = 16
"""Units for each of the two numbers."""

D_SAE = 128
"""Latents of each dictionary."""

_READ = 0.999

Points = Callable[[torch.Generator, int], Float[Tensor, "n 2"]]


def on_curve(generator: torch.Generator, n: int) -> Float[Tensor, "n 2"]:
    """Points of a Lissajous curve, which fills its square without ever being random."""
    t = 2 * torch.pi * torch.rand(n, generator=generator)
    return torch.stack([(3 * t + 0.5).sin(), (4 * t).sin()], dim=1)


def off_curve(generator: torch.Generator, n: int) -> Float[Tensor, "n 2"]:
    """Points whose two numbers are independent, each distributed as on the curve."""
    return torch.stack([on_curve(generator, n)[:, 0], on_curve(generator, n)[:, 1]], dim=1)


class Model(NamedTuple):
    """`f(x, y) = (g(x), q(y))`, two functions of each number: one network for x and one for y, whose hidden units are
    turned together, so that neurons do not tell which is which."""

    nets: Nets
    turn: Float[Tensor, "d d"]
    """An orthogonal matrix; its first half of columns are where x's units went, the second y's."""

    def hidden(self, points: Float[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
        """What dictionaries are trained on."""
        return torch.cat(list(self.nets.hidden(points.T)), dim=1) @ self.turn.T

    def out(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        """What the model makes of it."""
        units = (h @ self.turn).unflatten(1, (2, -1)).transpose(0, 1)
        return torch.cat(list(self.nets.out(units)), dim=1)

    def purity(self, rows: Float[Tensor, "m d"]) -> float:
        """How far directions belong to one of the two numbers: the larger of their shares in x's units and in y's, mean
        over directions."""
        shares = (unit(rows.float()) @ self.turn).square().unflatten(1, (2, -1)).sum(-1)
        return float(shares.max(1).values.mean())


def functions(x: Float[Tensor, "2 n"]) -> Float[Tensor, "2 n 2"]:
    """What the model is to compute of each number by itself."""
    return torch.stack([(3 * x).sin(), x.square()], dim=-1)


def measure(place: Place) -> RunSeen:
    """One run: what is found from activations on the curve alone, and what the model's gradients say there."""
    config = place.config
    nets = train_nets(functions, 2, N_HIDDEN, config.net_steps, place.generator("net"))
    turn = torch.linalg.qr(torch.randn(2 * N_HIDDEN, 2 * N_HIDDEN, generator=place.generator("turn"))).Q
    model = Model(nets, turn)
    drawn = lambda points: lambda generator, n: model.hidden(points(generator, n))
    on, off = (place.held_out(drawn(points)) for points in (on_curve, off_curve))

    def seen(
        method: str, setting: str, sees: Sees, rows: Float[Tensor, "m d"], more: Mapping[str, float] = NOTHING
    ) -> Seen:
        m = len(rows)
        draws = place.generator("random", m)
        by_chance = {"purity": chance_of(model.purity, m, on.shape[1], config.n_draws, draws)} if m else {}
        values = {"purity": model.purity(rows) if m else float("nan"), "n_directions": float(m)}
        return Seen(method, setting, sees, values | dict(more), by_chance)

    def dictionary(name: str, draw: Draw) -> Seen:
        source = Drawn(draw, place.seed, config.batch_size)
        found = trained(source, place, name.replace(" ", "-"), kind="topk", d_sae=D_SAE, k=4)
        acts, live = found.encode(on).detach() != 0, (found.encode(on) != 0).any(0)
        on_it, off_it = found(on).detach(), found(off).detach()
        more = {"fvu_on": fvu(on_it, on), "fvu_off": fvu(off_it, off), "l0": float(acts.sum(1).float().mean())}
        more |= _outputs(model.out(on_it), model.out(off_it), model, on, off)
        return seen("topk k=4", name, "activations", found.directions()[live], more)

    rows = [seen("neurons", "", "activations", torch.eye(2 * N_HIDDEN))]
    rows.append(seen("PCA", "", "activations", components(on)))
    rows += [dictionary("on the curve", drawn(on_curve)), dictionary("off the curve", drawn(off_curve))]
    readouts = torch.block_diag(*model.nets.V).T @ model.turn.T
    order = torch.arange(len(on)) % len(readouts)
    span = output_metric(readouts[order], on).read_span(_READ)
    rows.append(seen("gradient Gram matrix", "on the curve", "model", span.T.float()))
    rows.append(_transcoder(place, model, drawn(on_curve), on, off, seen))
    return RunSeen(rows, _facts(model, place))


def _transcoder(
    place: Place,
    model: Model,
    draw: Draw,
    on: Float[Tensor, "n d"],
    off: Float[Tensor, "n d"],
    seen: Callable[..., Seen],
) -> Seen:
    source = Drawn(draw, place.seed, place.config.batch_size, model.out)
    found = trained(source, place, "transcoder", kind="topk", d_sae=D_SAE, k=4)
    acts, read = found.encode(on).detach() != 0, found.encoder_rows()
    assert read is not None
    more = _outputs(found(on).detach(), found(off).detach(), model, on, off)
    more |= {"l0": float(acts.sum(1).float().mean())}
    return seen("transcoder k=4", "on the curve", "model", read[acts.any(0)], more)


def _outputs(
    on_it: Float[Tensor, "n o"],
    off_it: Float[Tensor, "n o"],
    model: Model,
    on: Float[Tensor, "n d"],
    off: Float[Tensor, "n d"],
) -> dict[str, float]:
    """Errors of the outputs on the curve and off it, and how many times larger these are."""
    of = {"out_on": fvu(on_it, model.out(on)), "out_off": fvu(off_it, model.out(off))}
    return {"off_on": of["out_off"] / of["out_on"]} | of


def _facts(model: Model, place: Place) -> dict[str, float]:
    error = dict[str, float]()
    for name, points in (("error_on", on_curve), ("error_off", off_curve)):
        drawn = points(place.generator("facts"), place.config.n_held_out)
        wanted = torch.cat(list(functions(drawn.T)), dim=1)
        error[name] = fvu(model.out(model.hidden(drawn)), wanted)
    return error
