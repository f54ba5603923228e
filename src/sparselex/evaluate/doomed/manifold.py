"""A closed curve that a model reads by windows, fine in one part and coarse in the rest; how dictionaries tile it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sparselex.evaluate.doomed.draws import Drawn, Place, components, fvu, trained
from sparselex.evaluate.doomed.seen import NOTHING, Chance, RunSeen, Seen, Sees, best_cosine

N_WINDOWS, N_FINE, FINE = 100, 75, 0.25
"""Windows, those of them that lie in the fine part, and the share of the curve that this is."""

N_WAVES = 5
"""Frequencies of the curve: two dimensions each."""

D_OUT, D_SAE = 32, 500
"""Width of what the model writes, and latents of dictionaries."""

_GRID = 8000
"""Places on the curve at which latents are looked at."""

_N_SHIFTS = 20


def curve(t: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """The curve at places 0 to 1, of unit length everywhere and of one speed."""
    angles = 2 * torch.pi * t[:, None] * torch.arange(1, N_WAVES + 1)
    return torch.cat([angles.cos(), angles.sin()], dim=1) / N_WAVES**0.5


class Reader(NamedTuple):
    """What the model does with the curve: windows `relu(h · w - b) · gain` of height 1, each of which writes a vector
    of its own."""

    places: Float[Tensor, " w"]
    """The middle of each window."""

    thresholds: Float[Tensor, " w"]
    values: Float[Tensor, "w d_out"]

    def windows(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Activations of the windows."""
        return (h @ curve(self.places).T - self.thresholds).relu() / (1 - self.thresholds)

    def out(self, h: Float[Tensor, "n d"]) -> Float[Tensor, "n d_out"]:
        """What the model makes of it."""
        return self.windows(h) @ self.values


def reader(generator: torch.Generator) -> Reader:
    """Windows as wide as two of their distances, three quarters of them in one quarter of the curve."""
    n_coarse = N_WINDOWS - N_FINE
    fine = (torch.arange(N_FINE) + 0.5) * FINE / N_FINE
    coarse = FINE + (torch.arange(n_coarse) + 0.5) * (1 - FINE) / n_coarse
    widths = torch.cat([torch.full((N_FINE,), FINE / N_FINE), torch.full((n_coarse,), (1 - FINE) / n_coarse)])
    start = curve(torch.zeros(1))[0]
    values = functional.normalize(torch.randn(N_WINDOWS, D_OUT, generator=generator), dim=-1)
    return Reader(torch.cat([fine, coarse]), curve(widths) @ start, values)


def measure(place: Place) -> RunSeen:
    """One run: how dictionaries, and what knows of the reading, divide the curve."""
    config, model = place.config, reader(place.generator("values"))
    draw = lambda generator, n: curve(torch.rand(n, generator=generator))
    t = (torch.arange(_GRID) + 0.5) / _GRID
    h = curve(t)
    truth, y = model.windows(h) > 0, model.out(h)
    fine = t < FINE
    chances = place.generator("shifts")

    def seen(
        method: str,
        setting: str,
        sees: Sees,
        acts: Float[Tensor, "n m"],
        rows: Float[Tensor, "m d"],
        more: Mapping[str, float] = NOTHING,
    ) -> Seen:
        live = (acts != 0).any(0)
        peaks = t[acts[:, live].abs().argmax(0)]
        on = acts[:, live] != 0
        values = {
            "fine": float((peaks < FINE).float().mean()),
            "f1": _f1(on, truth),
            "cosine": best_cosine(rows[live], curve(model.places)),
            "n_directions": float(live.sum()),
            "l0": float(on.sum(1).float().mean()),
        }
        return Seen(
            method, setting, sees, values | dict(more), {"f1": _shifted(on, truth, chances), "fine": Chance(FINE, FINE)}
        )

    rows = [seen("neurons", "", "activations", h, torch.eye(h.shape[1]))]
    axes = components(h)
    rows.append(seen("PCA", "", "activations", (h - h.mean(0)) @ axes.T, axes))
    for name, fields in _AUTOENCODERS.items():
        kind, _, setting = name.partition(" ")
        source = Drawn(draw, place.seed, config.batch_size)
        dictionary = trained(source, place, name.replace(" ", "-"), d_sae=D_SAE, **fields)
        h_hat = dictionary(h).detach()
        lost = model.out(h_hat)
        more = {"fvu": fvu(h_hat, h), "lost_fine": _share(lost, y, fine), "lost_coarse": _share(lost, y, ~fine)}
        acts = dictionary.encode(h).detach()
        rows.append(seen(kind, setting, "activations", acts, dictionary.directions(), more))
    rows.append(_pieces(model, t))
    source = Drawn(draw, place.seed, config.batch_size, model.out)
    transcoder = trained(source, place, "transcoder", d_sae=D_SAE, kind="topk", k=2)
    y_hat, read = transcoder(h).detach(), transcoder.encoder_rows()
    assert read is not None
    more = {"lost_fine": _share(y_hat, y, fine), "lost_coarse": _share(y_hat, y, ~fine)}
    rows.append(seen("transcoder", "k=2", "model", transcoder.encode(h).detach(), read, more))
    windows = model.windows(h)
    fit = torch.linalg.lstsq(windows, h).solution
    of_model = {"fvu": fvu(windows @ fit, h)}
    rows.append(seen("the model's windows", "", "truth", windows, curve(model.places), of_model))
    return RunSeen(rows, {})


_AUTOENCODERS: dict[str, dict[str, Any]] = {
    "topk k=2": {"kind": "topk", "k": 2},
    "topk k=4": {"kind": "topk", "k": 4},
    "relu l1=1": {"kind": "relu", "l1": 1.0},
}


def _pieces(model: Reader, t: Float[Tensor, " n"]) -> Seen:
    """The gradient along the curve changes where a window begins or ends: pieces on which it is constant, and where
    they lie."""
    on = model.windows(curve(t)) > 0
    # The Jacobian is the sum of what active windows read and write: it changes with the set of these alone.
    steps = (model.values[:, :, None] * curve(model.places)[:, None] / (1 - model.thresholds)[:, None, None]).flatten(1)
    jacobian = on.float() @ steps
    changed = (jacobian[1:] - jacobian[:-1]).norm(dim=-1) > 1e-4 * jacobian.norm(dim=-1).max()
    ends = t[1:][changed]
    return Seen(
        "pieces of the gradient",
        "",
        "model",
        {"fine": float((ends < FINE).float().mean()), "n_directions": float(changed.sum())},
        {"fine": Chance(FINE, FINE)},
    )


def _f1(on: Bool[Tensor, "n m"], truth: Bool[Tensor, "n w"]) -> float:
    """The best F1 of any latent for each window, mean over windows."""
    together = on.float().T @ truth.float()
    f1 = 2 * together / (on.sum(0)[:, None] + truth.sum(0)).clamp_min(1)
    return float(f1.max(0).values.mean())


def _shifted(on: Bool[Tensor, "n m"], truth: Bool[Tensor, "n w"], draws: torch.Generator) -> Chance:
    """The same where every latent is moved along the curve by a distance of its own."""
    found = []
    for _ in range(_N_SHIFTS):
        by = torch.randint(len(on), (on.shape[1],), generator=draws)
        places = (torch.arange(len(on))[:, None] + by) % len(on)
        found.append(_f1(on.gather(0, places), truth))
    return Chance(float(np.mean(found)), float(np.quantile(found, 0.95)))


def _share(y_hat: Float[Tensor, "n d"], y: Float[Tensor, "n d"], where: Bool[Tensor, " n"]) -> float:
    """Error as a share of the variance, over a part of the curve."""
    return fvu(y_hat[where], y[where])
