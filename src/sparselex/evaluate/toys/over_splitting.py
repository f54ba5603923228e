"""Over-splitting in closed form: with a small penalty, many meaningless latents have a lower loss than the two true
ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.seeds import generator
from sparselex.evaluate.toys.records import OverSplitting

Floats = NDArray[np.float32]

_STARTS = ((0.6, 0.5), (1.0, 1.5), (1.2, 3.0), (1.5, 6.0))
"""Gains and thresholds from which the least loss is sought: it has a flat side where nothing fires."""


class Ideal(NamedTuple):
    """The best two latents along the means."""

    loss: float
    gain: float
    """Encoder rows are this times the unit vector of a mean."""

    threshold: float
    """What is subtracted before the ReLU."""

    fires: float
    """Share of samples in which either is active."""


def over_splitting(
    l1: float,
    *,
    d: int = 100,
    length: float = 2.0,
    n_latents: int = 1000,
    n_samples: int = 20_000,
    bias: float = -2.35,
    betas: tuple[float, ...] = tuple(round(0.005 * step, 3) for step in range(8, 21)),
    seed: int = 0,
) -> OverSplitting:
    """The loss `E|a - a_hat|² + l1 E|f|_1` of two dictionaries on an equal mixture of N(±mu, 1) in `d` dimensions with
    `|mu| = length` (Makelov, Lange and Nanda 2024, arXiv:2405.08366, section on over-splitting).

    The ideal one has two latents, decoder rows ±mu / |mu|; its gain and threshold are the best ones, in closed form.
    The other has `n_latents` encoder rows drawn from the mixture, times the best of `betas`, with `bias`; decoder rows
    are the same at unit norm. Its loss is measured on `n_samples`, as a difference from the loss of a silent
    dictionary, whose value is known: that takes out what samples differ in by their lengths.

    Where the second loss is lower, training has a reason to split one binary attribute over many latents though there
    is room for the two that are right. What the toy leaves out: rows are drawn and not trained, so that a trained
    dictionary may be better still; and there is nothing else in the activations that latents could be used for.

    Raises `UserError` for a penalty that is not positive.
    """
    if not (np.isfinite(l1) and l1 > 0):
        raise UserError(f"{l1} was given as the penalty l1.", "a positive number", "give 1, say.")
    ideal, silent = ideal_loss(l1, d=d, length=length), d + length**2
    draws = generator(seed, "over-splitting")
    samples = _mixture(n_samples, d, length, draws)
    rows = _mixture(n_latents, d, length, draws)
    losses = {beta: silent + _gains(samples, rows, beta, bias, l1) for beta in betas}
    beta = min(losses, key=lambda one: float(losses[one].mean()))
    words = (
        f"mean loss of {n_latents:,} latents drawn from the data, with the best of {len(betas)} lengths of their rows"
    )
    figure = mean_figure(
        "toys/over_splitting/random_loss", losses[beta], words, over="samples", null=silent, better="lower"
    )
    return OverSplitting(l1=l1, ideal=ideal.loss, ideal_fires=ideal.fires, silent=silent, random=figure, beta=beta)


def ideal_loss(l1: float, *, d: int = 100, length: float = 2.0) -> Ideal:
    """The least loss of two latents `relu(±gain t - threshold)`, t the coordinate along the means, decoders ±1.

    Only t is reconstructed, so the loss is `d - 1` plus an integral over the tails of two normal distributions, whose
    moments are known; it is minimised over gain and threshold.
    """
    found = [
        minimize(lambda at: _loss(at[0], at[1], l1, length), start, method="Nelder-Mead", options={"xatol": 1e-7})
        for start in _STARTS
    ]
    best = min(found, key=lambda one: float(one.fun))
    gain, threshold = (abs(float(one)) for one in best.x)
    fires = 2 * _tail(threshold / gain, length)[0]
    return Ideal(d - 1 + float(best.fun), gain, threshold, fires)


def _loss(gain: float, threshold: float, l1: float, length: float) -> float:
    """Of the coordinate along the means, squared error and penalty of both latents."""
    gain, threshold = abs(gain) + 1e-12, abs(threshold)
    once, first, second = _tail(threshold / gain, length)
    change = ((1 - gain) ** 2 - 1) * second + (2 * (1 - gain) * threshold + l1 * gain) * first
    change += (threshold**2 - l1 * threshold) * once
    return 1 + length**2 + 2 * change


def _tail(cut: float, length: float) -> tuple[float, float, float]:
    """E[1], E[t] and E[t²] over t > `cut` of the mixture along the means."""
    moments = []
    for mean in (length, -length):
        over, at = float(norm.sf(cut - mean)), float(norm.pdf(cut - mean))
        moments.append((over, mean * over + at, (mean**2 + 1) * over + (mean + cut) * at))
    once, first, second = (float(np.mean(one)) for one in zip(*moments, strict=True))
    return once, first, second


def _mixture(n: int, d: int, length: float, draws: np.random.Generator) -> Floats:
    out = draws.standard_normal((n, d), dtype=np.float32)
    out[:, 0] += length * draws.choice(np.array([-1, 1], dtype=np.float32), n)
    return out


def _gains(samples: Floats, rows: Floats, beta: float, bias: float, l1: float) -> NDArray[np.float64]:
    """By sample, what the loss differs by from that of silence."""
    decoder = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for part in np.array_split(samples, max(1, len(samples) // 2048)):
        acts = np.maximum(beta * (part @ rows.T) + bias, 0)
        written = acts @ decoder
        found.append(np.square(written).sum(1) - 2 * (part * written).sum(1) + l1 * acts.sum(1))
    return np.concatenate(found).astype(np.float64)
