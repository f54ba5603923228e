"""The finish of a training: its last tokens on what the model loses by the reconstruction.

`kl`: half on that and half on reconstruction (Karvonen 2025, arXiv:2503.17272): on the last few per cent of tokens the
two, weighted by their running sizes, close a good part of the gap in cross-entropy. `e2e` and `downstream`: without
reconstruction, on the predictions alone, or half on these and half on the residual streams behind the site (Braun et
al. 2024, arXiv:2405.12241), begun from a dictionary that reconstructs, as its authors advise. Ours differs in what is
held: the learning rate goes on falling as it would without, and L0 stays; and streams count by what share of their own
variance is lost, not by squares, which later blocks have more of. `attribution`: reconstruction, few latents that
matter to the loss by its gradient, and little of it in the error, brought to one size (Anthropic, April 2024).
`influence`: reconstruction from latents that are chosen by that gradient too (Olmo et al. 2024, arXiv:2411.10397).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparselex.causal.spliced import Places, Weights, divergence, loss_gradient, lost
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.kinds import Finish as Kind
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.types.batchtopk import BatchTopK
from sparselex.dictionaries.types.topk import TopK
from sparselex.training.calibrate import scaled
from sparselex.training.influence import by_influence
from sparselex.training.objectives import attributed, unattributed
from sparselex.training.rows import LiveBatch
from sparselex.training.step import Step

_RATES = {"reconstruction": 0.05, "kl": 0.05, "downstream": 0.05, "attributed": 0.05, "unattributed": 0.05, "l0": 0.2}
"""Share of each running mean that a new step is. L0 is steered by, and a slow mean would be steered past."""

_AT_ONCE, _IN_TIME = 2.0, 0.2
"""By how much the logarithm of the pressure moves with the relative excess of L0: as long as it lasts, and for each
step that it has lasted."""


class Finish:
    """What the finish of one dictionary has of its own: the running sizes of the parts of its loss, and the L0 that it
    holds."""

    def __init__(self, dictionary: TrainableDictionary, kind: Kind):
        self._dictionary, self._kind = dictionary, kind
        self.sizes: dict[str, float] = {}
        """Running means, of all processes: `kl`, `downstream`, `attributed`, `unattributed`, `l0` and `reconstruction`,
        which without reconstruction stays what it was at first."""

        self.l0: float | None = None
        """What L0 was when the finish began; None before that."""

        self._excess = 0.0
        self.shown: dict[str, float] = {}
        """Figures of the last step for the log."""

    def state(self) -> dict[str, Any]:
        """All that decides the next step, as JSON values."""
        return {"sizes": self.sizes, "l0": self.l0, "excess": self._excess, "pressure": self._dictionary.pressure}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.sizes, self.l0, self._excess = dict(state["sizes"]), state["l0"], state["excess"]
        self._dictionary.pressure = state["pressure"]

    def note_l0(self, step: Step) -> None:
        """Count the active latents of a step before the finish."""
        self._note("l0", _l0(step))

    def steer(self, step: Step) -> None:
        """Move the pressure of a type that has a coefficient, so that L0 stays what it was."""
        now = _l0(step)
        self.l0 = self.sizes.get("l0", now) if self.l0 is None else self.l0
        excess = self._note("l0", now) / max(self.l0, 1e-3) - 1
        self._excess += excess
        self._dictionary.pressure = math.exp(max(-3.0, min(3.0, _AT_ONCE * excess + _IN_TIME * self._excess)))

    def codes(
        self,
        codes: Codes,
        pair: tuple[Tensor, Tensor],
        live: LiveBatch,
        x: Tensor,
        places: Places,
        scales: Sequence[float],
        *,
        gradients: Gradients,
    ) -> Codes:
        """What is reconstructed from: the dictionary's own `codes`, or others where the finish chooses. `pair` are the
        scaled inputs and the scaled target; all else is as in `loss`."""
        if self._kind != "influence":
            return codes
        assert isinstance(self._dictionary, TopK | BatchTopK)  # the configuration has asked
        gradient = self._gradient(pair[1], live, x, places, scales)
        chosen = by_influence(self._dictionary, pair[0], codes, gradient, gradients=gradients)
        self.shown = {"chosen_otherwise": self._changed(codes, chosen)}
        return chosen

    def _changed(self, codes: Codes, chosen: Codes) -> float:
        """The share of chosen latents that the dictionary itself would not have taken."""
        ranks = self._dictionary.ranks
        places = [one.rows * one.d_sae + one.indices for one in (codes, chosen)]
        same = ranks.count(places[1][torch.isin(places[1], places[0])])
        return 1 - same / max(1, ranks.count(places[1]))

    def loss(
        self, step: Step, error: Tensor, live: LiveBatch, x: Tensor, places: Places, scales: Sequence[float]
    ) -> Tensor:
        """What takes the place of the reconstruction's `error`, brought to the size that it had: so the whole weighs
        against penalties what it weighed before.

        `x` are the raw tokens, `places` where reconstructions stand, and `scales` what brings each site to units of
        training. Weights are running quotients, through which no gradient goes.
        """
        if self._kind == "influence":
            return error
        if self._kind == "attribution":
            return self._with_attributions(step, error, live, self._gradient(step.target, live, x, places, scales))
        x_hat = raw(step.dictionary, step.x_hat, x, scales)
        if self._kind == "kl":
            return self._with_reconstruction(step, error, live, x_hat, places)
        return self._without_reconstruction(step, error, live, x_hat, places)

    def _without_reconstruction(
        self, step: Step, error: Tensor, live: LiveBatch, x_hat: Tensor, places: Places
    ) -> Tensor:
        """The divergence of the predictions, or half of it and half of the error of the streams behind the site."""
        ranks, n_here, both = step.dictionary.ranks, max(1, len(step.x)), self._kind == "downstream"
        per = {"kl": max(1, live.n_predicted), "downstream": max(1, live.n_tokens)}
        if "kl" not in self.sizes:  # of the first step the sizes are not known before it is measured
            with torch.no_grad():
                first = lost(live.rows, places, x_hat.detach(), Weights(1.0, float(both)))
            mean_error = float(ranks.over_data((error.detach() * n_here).double())) / live.n_tokens
            self.sizes["reconstruction"] = mean_error
            self._note_lost(ranks.over_data(torch.stack([first.kl, first.downstream]).double()).tolist(), per)
        weight = lambda name: 1 / (per[name] * max(self.sizes[name], 1e-12))
        weights = Weights(weight("kl") / 2, weight("downstream") / 2) if both else Weights(weight("kl"), 0.0)
        found = lost(live.rows, places, x_hat, weights)
        self._note_lost(ranks.over_data(torch.stack([found.kl, found.downstream]).double()).tolist(), per)
        return self.sizes["reconstruction"] * live.n_tokens / n_here * found.whole.to(error)

    def _note_lost(self, totals: Sequence[float], per: Mapping[str, int]) -> None:
        """Count what is lost of a batch: sums over predictions and over tokens."""
        self.shown = {name: total / n for (name, n), total in zip(per.items(), totals, strict=True)}
        for name, value in self.shown.items():
            self._note(name, value)
        if self._kind == "e2e":
            del self.shown["downstream"]

    def _with_reconstruction(self, step: Step, error: Tensor, live: LiveBatch, x_hat: Tensor, places: Places) -> Tensor:
        """Half the reconstruction's error and half the divergence of the predictions, brought to the same size."""
        ranks, n_here = step.dictionary.ranks, max(1, len(step.x))
        kl = divergence(live.rows, places, x_hat).to(error)
        total = ranks.over_data(torch.stack([error.detach() * n_here, kl.detach()]).double()).tolist()
        mean_error, mean_kl = total[0] / live.n_tokens, total[1] / max(1, live.n_predicted)
        weight = self._note("reconstruction", mean_error) / max(self._note("kl", mean_kl), 1e-12)
        self.shown = {"kl": mean_kl, "kl_weight": weight / 2}
        # Gradients of processes are averaged by their tokens, and a mean over predictions is none over tokens.
        share = live.n_tokens / n_here / max(1, live.n_predicted)
        return (error + weight * share * kl) / 2

    def _gradient(self, target: Tensor, live: LiveBatch, x: Tensor, places: Places, scales: Sequence[float]) -> Tensor:
        """The gradient of the loss at the scaled target, in its units, where the model is as it is."""
        gradient = loss_gradient(live.rows, places, raw(self._dictionary, target, x, scales).detach())
        return scaled(gradient.to(target), self._dictionary.parts_out, [1 / one for one in scales])

    def _with_attributions(self, step: Step, error: Tensor, live: LiveBatch, gradient: Tensor) -> Tensor:
        """A third each on reconstruction, on how much latents matter by the gradient of the loss, and on how much the
        error does."""
        ranks, n_here = step.dictionary.ranks, max(1, len(step.x))
        parts = {
            "reconstruction": error,
            "attributed": attributed(step, gradient),
            "unattributed": unattributed(step, gradient),
        }
        whole = torch.stack([part.detach() * n_here for part in parts.values()]).double()
        whole[1] = ranks.over_latents(whole[1])
        totals = ranks.over_data(whole).tolist()
        means = {name: total / live.n_tokens for name, total in zip(parts, totals, strict=True)}
        sizes = {name: self._note(name, value) for name, value in means.items()}
        self.shown = {name: means[name] for name in ("attributed", "unattributed")}
        weight = {name: sizes["reconstruction"] / max(size, 1e-12) for name, size in sizes.items()}
        return torch.stack([weight[name] * part for name, part in parts.items()]).sum() / 3

    def _note(self, name: str, value: float) -> float:
        before = self.sizes.get(name, value)
        self.sizes[name] = before + _RATES[name] * (value - before)
        return self.sizes[name]


def _l0(step: Step) -> float:
    """Active latents of a token, over all processes."""
    ranks = step.dictionary.ranks
    n = ranks.over_data(torch.tensor(len(step.x), device=step.x.device))
    return int(ranks.total(step.codes.values.count_nonzero())) / max(1, int(n))


def raw(dictionary: TrainableDictionary, x_hat: Tensor, x: Tensor, scales: Sequence[float]) -> Tensor:
    """A reconstruction of the raw tokens `x` in raw values, the `scales` of its sites taken out."""
    return dictionary.raw_reconstruction(scaled(x_hat, dictionary.parts_out, [1 / one for one in scales]), x)
