"""Ten ReLU units that approximate a square: one direction of them is used, and the rest is scaffolding."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.controls.rows import covariance_matched_rows
from sparselex.evaluate.doomed.config import N_UNITS
from sparselex.evaluate.doomed.draws import Drawn, Place, alive, components, fvu, trained
from sparselex.evaluate.doomed.nets import train_nets
from sparselex.evaluate.doomed.seen import NOTHING, Chance, RunSeen, Seen, Sees, best_cosine, chance_of
from sparselex.evaluate.model_features.relevance import OutputMetric, in_span

D_SAE = 40
"""Latents of each dictionary."""

_READ = 0.95
"""Share of the trace of the output metric that counts as read."""


def measure(place: Place) -> RunSeen:
    """One run: a network for x² on numbers from -1 to 1, and who finds the direction that its output reads."""
    config = place.config
    nets = train_nets(lambda x: x[..., None].square(), 1, N_UNITS, config.net_steps, place.generator("net"))
    numbers = lambda generator, n: 2 * torch.rand(1, n, generator=generator) - 1
    draw = lambda generator, n: nets.hidden(numbers(generator, n))[0]
    square = lambda h: nets.out(h[None])[0]
    h, x = place.held_out(draw), numbers(place.generator("held out"), config.n_held_out)
    readout = nets.V[0].T
    chance_at: dict[int, Chance] = {}

    def seen(
        method: str, setting: str, sees: Sees, rows: Float[Tensor, "m d"], more: Mapping[str, float] = NOTHING
    ) -> Seen:
        m = len(rows)
        if m and m not in chance_at:
            draws = place.generator("random", m)
            chance_at[m] = chance_of(lambda one: best_cosine(one, readout), m, N_UNITS, config.n_draws, draws)
        found = best_cosine(rows, readout) if m else float("nan")
        values = {"cosine": found, "read_share": _shares(rows, span), "n_directions": float(m), **more}
        by_chance = {"cosine": chance_at[m], "read_share": Chance(*random_share)} if m else {}
        return Seen(method, setting, sees, values, by_chance)

    metric = output_metric(readout.expand(len(h), -1), h)
    span = metric.read_span(_READ)
    random_share = chance_of(lambda one: _shares(one, span), 1, N_UNITS, config.n_draws, place.generator("share"))
    rows = [seen("neurons", "", "activations", torch.eye(N_UNITS)), seen("PCA", "", "activations", components(h))]
    for name, fields in _AUTOENCODERS.items():
        kind, _, setting = name.partition(" ")
        source = Drawn(draw, place.seed, config.batch_size)
        dictionary = trained(source, place, name.replace(" ", "-"), d_sae=D_SAE, **fields)
        acts, live = dictionary.encode(h).detach(), alive(dictionary, h)
        more = {"l0": float((acts != 0).sum(1).float().mean()), "fvu": fvu(dictionary(h).detach(), h)}
        rows.append(seen(kind, setting, "activations", dictionary.directions()[live], more))
    covariance = torch.cov(h.double().T)
    as_they_vary = covariance_matched_rows(h.mean(0), covariance, D_SAE, 1, place.generator("covariance"))
    rows.append(seen("random, as activations vary", f"{D_SAE}", "chance", as_they_vary.directions()))
    rows.append(seen("gradient Gram matrix", "", "model", span.T.float()))
    source = Drawn(draw, place.seed, config.batch_size, square)
    transcoder = trained(source, place, "transcoder", d_sae=D_SAE, kind="topk", k=1)
    live, read = alive(transcoder, h), transcoder.encoder_rows()
    assert read is not None
    l0 = float((transcoder.encode(h) != 0).sum(1).float().mean())
    y = square(h)
    rows.append(seen("transcoder", "k=1", "model", read[live], {"l0": l0, "fvu": fvu(transcoder(h).detach(), y)}))
    return RunSeen(rows, _facts(h, y, x[0], readout, span))


_AUTOENCODERS = {
    "topk k=1": {"kind": "topk", "k": 1},
    "topk k=2": {"kind": "topk", "k": 2},
    "relu l1=1": {"kind": "relu", "l1": 1.0},
}


def output_metric(gradients: Float[Tensor, "n d"], x: Float[Tensor, "n d"]) -> OutputMetric:
    """The Gram matrix of gradients beside the covariance of activations `x`."""
    metric = OutputMetric({}, torch.cov(x.double().T), 1)
    groups: Int[Tensor, " n"] = torch.zeros(len(gradients), dtype=torch.long)
    metric.add(gradients.contiguous(), groups)
    return metric


def _shares(rows: Float[Tensor, "m d"], span: Float[Tensor, "d r"]) -> float:
    units = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return float(in_span(units, span).mean()) if len(rows) else float("nan")


def _facts(
    h: Float[Tensor, "n d"],
    y: Float[Tensor, "n 1"],
    x: Float[Tensor, " n"],
    readout: Float[Tensor, "1 d"],
    span: Float[Tensor, "d r"],
) -> dict[str, float]:
    direction = (readout / readout.norm())[0].double()
    centred = (h - h.mean(0)).double()
    others = torch.linalg.svd(direction[None]).Vh[1:]
    return {
        "mse": float((y[:, 0] - x.square()).square().mean()),
        "variance_share": float((centred @ direction).square().sum() / centred.square().sum()),
        "readout_read": float(in_span(direction[None], span)[0]),
        "complement_read": float(in_span(others, span).max()),
    }
