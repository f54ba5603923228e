"""Figures of universality, each beside its null."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.compare.figures import Without, follows_figure
from sparselex.atlas.compare.records import SAME
from sparselex.atlas.universality.attribution import Attributed
from sparselex.atlas.universality.latents import Matched, Nearest
from sparselex.atlas.universality.neurons import Neurons
from sparselex.atlas.universality.pairs import Correlations
from sparselex.atlas.universality.records import KIND
from sparselex.base.estimates import Apart, interval_figure, mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, Interval, median_interval, widened

_EMPTY = "no latent of the run is active often enough on the tokens that both indexes counted"
_Z = 1.959964

SHIFTED = "the run's activations shifted by a third to two thirds of the tokens"
MOVED = "the other model's activations moved to other tokens"
ANOTHER = "each latent with the match of another one"


class Measured(NamedTuple):
    """What one other run says."""

    latents: Matched
    neurons: Neurons | None
    attributed: Attributed | None
    single_token: NDArray[np.bool_]
    """`[n]`, latents of the run that are active on hardly any token but one."""

    n_documents: float
    """Documents of one size that would tell as much as those on which matches were judged."""


class _Maker:
    """Makes figures over the same documents."""

    def __init__(self, other: str, n_documents: float):
        self._before, self.n_documents = f"{KIND}/{other}", n_documents

    def median(self, name: str, found: Correlations, words: str, null: Floats | None, over: str = "latents") -> Figure:
        """The median over latents, with what documents owe to it."""
        known = np.isfinite(found.value)
        return median_figure(
            f"{self._before}/{name}",
            found.value[known],
            words,
            over=over,
            apart=Apart(found.without[:, known], self.n_documents),
            null=_median(null),
            empty=_EMPTY,
        )

    def plain(self, name: str, values: Floats, words: str, null: Floats | None, over: str = "latents") -> Figure:
        """The same of values that no document has a part in."""
        known = values[np.isfinite(values)]
        return median_figure(f"{self._before}/{name}", known, words, over=over, null=_median(null), empty=_EMPTY)

    def share(self, name: str, found: Correlations, words: str, null: Floats, over: str = "latents") -> Figure:
        """The share that is one and the same, as between seeds."""
        known = np.isfinite(found.value)
        apart = Apart(found.without[:, known] >= SAME, self.n_documents)
        flags, by_chance = found.value[known] >= SAME, _known(null) >= SAME
        return mean_figure(
            f"{self._before}/{name}",
            flags,
            words,
            over=over,
            apart=apart,
            share=True,
            null=float(by_chance.mean()) if len(by_chance) else None,
            empty=_EMPTY,
        )

    def flags(self, name: str, flags: NDArray[np.bool_], words: str, null: NDArray[np.bool_]) -> Figure:
        """A share of latents that no document has a part in."""
        by_chance = float(null.mean()) if len(null) else None
        return mean_figure(
            f"{self._before}/{name}", flags, words, over="latents", share=True, null=by_chance, empty=_EMPTY
        )

    def advantage(self, latents: Correlations, neurons: Correlations) -> Figure:
        """How far the median of latents lies above that of neurons; documents move both together."""
        both = [one.value[np.isfinite(one.value)] for one in (latents, neurons)]
        apart = [one.without[:, np.isfinite(one.value)] for one in (latents, neurons)]
        words = "median correlation of latents less that of neurons, either with its nearest in the other run or model"
        name = f"{self._before}/advantage"
        if not all(map(len, both)):
            return Figure(name=name, definition=words, failure=_EMPTY)
        of_units = [median_interval(one) for one in both]
        value = of_units[0].value - of_units[1].value
        variance = sum(((one.high - one.low) / (2 * _Z)) ** 2 for one in of_units)
        without = np.nanmedian(apart[0], axis=1) - np.nanmedian(apart[1], axis=1)
        n = len(without)
        of_documents = float(np.square(without - value).sum() * (n - 1) / n)
        half = _Z * float(np.sqrt(variance))
        found = widened(Interval(value, value - half, value + half), of_documents, n - 1, share=False)
        if self.n_documents < LEAST_DOCUMENTS:
            found = Interval(value, np.nan, np.nan)
        n_units = min(map(len, both))
        spread = (n_units, min(float(n_units), self.n_documents), float(np.sqrt(variance + of_documents)))
        words += (
            "; 95 % interval from order statistics over latents and over neurons, and the jackknife over "
            f"{n} groups of documents"
        )
        return interval_figure(name, found, words, over="latents and neurons", spread=spread, null=0.0)


def universality_figures(other: str, found: Measured, where: str, least_active: int, *, signed: bool) -> list[Figure]:
    """What one other run says, in figures; `where` says on which tokens, and `least_active` from how many on a latent
    is compared."""
    make, size = _Maker(other, found.n_documents), "size of the " if signed else ""
    latents, r = found.latents, f"{size}correlation of activations {where}"
    nearest = "the most similar one of the other run, chosen on training documents"
    often = f"active on {least_active:,} tokens or more of either kind"
    figures = [
        make.median(
            "features",
            latents.found.judged,
            f"median {r} of a latent, {often}, with {nearest}, as often; null: {SHIFTED}",
            latents.null.judged.value,
        ),
        make.share(
            "shared",
            latents.found.judged,
            f"share of latents, {often}, whose {r} with {nearest}, is {SAME:g} or more; null: {SHIFTED}",
            latents.null.judged.value,
        ),
        make.median(
            "features_of_more_tokens",
            latents.found.judged.at(~found.single_token),
            f"the same median over latents that are not of a single token; null: {SHIFTED}",
            latents.null.judged.value[~found.single_token],
        ),
        make.flags(
            "mutual",
            latents.mutual,
            f"share of latents, {often}, that are the most similar one of their most similar one; null: {SHIFTED}",
            latents.mutual_null,
        ),
        make.plain(
            "features_where_chosen",
            latents.found.chosen,
            "the median correlation of latents on the very tokens on which the most similar ones were chosen, which "
            f"flatters; null: {SHIFTED}",
            latents.null.chosen,
        ),
    ]
    if found.neurons is not None:
        figures = _with_neurons(figures, make, found.latents, found.neurons, where)
    if found.attributed is not None:
        figures += _attributed(make, other, latents.found, found.attributed, where)
    return figures


def _with_neurons(figures: list[Figure], make: _Maker, latents: Matched, found: Neurons, where: str) -> list[Figure]:
    null, r = found.neurons_null, f"correlation of activations {where}"
    neurons = make.median(
        "neurons",
        found.neurons.judged,
        f"median {r} of a neuron of the model with the most similar one of the other model, chosen on training "
        f"documents; null: {MOVED}",
        null.judged.value,
        over="neurons",
    )
    beside = {} if neurons.value is None else {"neurons": neurons.value}
    first = figures[0] if figures[0].value is None else figures[0].model_copy(update={"controls": beside})
    return [
        first,
        neurons,
        make.advantage(latents.found.judged, found.neurons.judged),
        *figures[1:],
        make.share(
            "neurons_shared",
            found.neurons.judged,
            f"share of neurons whose {r} with the most similar one of the other model is {SAME:g} or more; null: "
            f"{MOVED}",
            null.judged.value,
            over="neurons",
        ),
        make.plain(
            "neurons_where_chosen",
            found.neurons.chosen,
            f"the median correlation of neurons on the very tokens on which the most similar ones were chosen; {MOVED}",
            null.chosen,
            over="neurons",
        ),
        make.median(
            "features_to_neurons",
            found.of_latents.judged,
            f"median {r} of a latent with the most similar neuron of the other model; null: what neurons have among "
            f"themselves with {MOVED}",
            null.judged.value,
        ),
        make.median(
            "neurons_to_features",
            found.to_latents.judged,
            f"median {r} of a neuron of the model with the most similar latent of the other run; null: what neurons "
            f"have among themselves with {MOVED}",
            null.judged.value,
            over="neurons",
        ),
    ]


def _attributed(make: _Maker, other: str, latents: Nearest, found: Attributed, where: str) -> list[Figure]:
    known, r = np.isfinite(latents.judged.value) & np.isfinite(found.vectors.value), latents.judged

    def follows(name: str, values: Floats, without: Floats, of: str) -> Figure:
        words = f"rank correlation, over latents, of the correlation of a pair's activations with that of its {of}"
        apart = Without(r.without[:, known], without[..., known], make.n_documents)
        return follows_figure(f"{KIND}/{other}/{name}", r.value[known], values[known], words, without=apart)

    return [
        make.median(
            "attribution",
            found.vectors,
            "median correlation of attribution vectors (activation at a token times the logit weight of the token that "
            f"follows) {where} of a latent with its match; null: {ANOTHER}",
            found.vectors_null.value,
        ),
        make.plain(
            "logit_weights",
            found.weights,
            f"median correlation of logit weights over the tokens of the text, of a latent with its match; null: "
            f"{ANOTHER}",
            found.weights_null,
        ),
        follows("attribution_follows", found.vectors.value, found.vectors.without, "attribution vectors"),
        follows("logit_weights_follow", found.weights, found.weights, "logit weights"),
    ]


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _median(values: Floats | None) -> float | None:
    return float(np.median(known)) if values is not None and len(known := _known(values)) else None
