"""Which leads are there: chosen by training documents, confirmed by test documents, each above what shuffles give."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.automata.config import AutomataConfig
from sparselex.atlas.automata.leads import (
    Known,
    Leads,
    known_of,
    raised_next,
    scale_of,
    spread,
    surprise,
    weights,
    weights_of,
)
from sparselex.atlas.automata.stream import Places, Stream, places_of, rotation
from sparselex.base.progress import progress
from sparselex.base.seeds import generator


class Split(NamedTuple):
    """One split, looked at."""

    known: Known
    n_places: NDArray[np.int64]
    """`[d_sae]`, places at which each latent is active and the text goes on."""

    hits: Places
    """Those of them with a raised token behind them."""

    pairs: NDArray[np.int64]
    """`[d_sae]`, how many these are of each latent."""

    n_documents: NDArray[np.float64]
    """`[d_sae]`, and documents of one size that would tell as much as theirs."""

    surprise: NDArray[np.float64]
    """`[1 + n_rotations, d_sae]`: of the text as it is, and of its shuffles."""

    rotations: list[NDArray[np.int64]]
    """The text as it is, and its shuffles."""


class Chosen(NamedTuple):
    """What is above the thresholds in training documents."""

    split: Split
    scale: NDArray[np.float64]
    sources: NDArray[np.int64]
    """Latents that were looked at."""

    leads: Leads
    """Above both thresholds."""

    shuffled: Leads
    """The same of a text that was shuffled once more than for the thresholds."""

    weight: float
    """The threshold of weights."""

    surprise: float
    """The threshold of surprise."""

    n_unsurprising: int


class Confirmed(NamedTuple):
    """What is so in test documents too."""

    split: Split
    leads: Leads
    """With their weights in training documents."""

    test: NDArray[np.float64]
    """`[n]`, their weights in test documents."""

    shuffled_share: float
    """Share of the chosen leads that pass where the text is shuffled once more."""

    weight: float
    surprise: float
    unconfirmed: dict[str, int]


def looked_at(stream: Stream, raised: NDArray[np.integer], n_vocab: int, config: AutomataConfig, name: str) -> Split:
    """One split, its text as it is and under as many shuffles as the thresholds need, and one more."""
    rng = generator(config.seed, "automata", name)
    shuffles = [rotation(stream, rng) for _ in range(config.n_shuffles + 1)]
    rotations = [rotation(stream, None), *shuffles]
    known, places = known_of(stream, n_vocab), places_of(stream, config.most_places)
    hits = places.of(raised_next(places, stream.tokens[places.next], raised))
    return Split(
        known,
        np.bincount(places.latents, minlength=len(raised)),
        hits,
        *spread(hits, stream, len(raised)),
        surprise(known, places, raised, rotations),
        rotations,
    )


def chosen(split: Split, config: AutomataConfig) -> Chosen:
    """Leads above the largest weight that any pair has in any shuffle, from latents that their tokens follow above the
    largest surprise that any latent has in any shuffle."""
    scale = scale_of(split.known, config.least_pairs, config.least_documents)
    enough = (split.pairs >= config.least_pairs) & (split.n_documents >= config.least_documents)
    sources = np.flatnonzero(enough)
    surprised, by_chance, again = split.surprise[0], split.surprise[1:-1].max(initial=0.0), split.surprise[-1]
    bar, real, once_more = 0.0, list[Leads](), list[Leads]()
    with progress("leads", len(sources), "latents") as moved:
        for found in weights(split.known, split.hits, sources, scale, split.rotations):
            bar = max([bar, *(float(one.weight.max(initial=0.0)) for one in found[1:-1])])
            # What is not above the threshold so far will not be above the whole one.
            real.append(found[0].of((found[0].weight > bar) & (surprised[found[0].source] > by_chance)))
            once_more.append(found[-1].of((found[-1].weight > bar) & (again[found[-1].source] > by_chance)))
            moved.advance(min(512, len(sources)))
    whole = lambda parts: _above(_joined(parts), bar)
    n_unsurprising = int((surprised[sources] <= by_chance).sum())
    return Chosen(split, scale, sources, whole(real), whole(once_more), bar, float(by_chance), n_unsurprising)


def confirmed(found: Chosen, split: Split, config: AutomataConfig) -> Confirmed:
    """The chosen leads that in other documents are above the largest weight that any of them has in any shuffle, from
    latents that are above the largest surprise that any of theirs has."""
    leads = found.leads
    there = (split.pairs >= config.least_confirming) & (split.n_documents >= config.least_documents_confirming)
    looked = there[leads.source]
    asked, own = leads.of(looked), np.unique(leads.source[looked])
    by_chance = float(split.surprise[1:-1][:, own].max(initial=0.0))
    weight = weights_of(split.known, split.hits, asked, found.scale, split.rotations)
    bar = float(weight[1:-1].max(initial=0.0))
    strong, surprised = weight[0] > bar, split.surprise[0][asked.source] > by_chance
    passes = strong & surprised
    again = (weight[-1] > bar) & (split.surprise[-1][asked.source] > by_chance)
    return Confirmed(
        split,
        asked.of(passes),
        weight[0][passes],
        float(again.mean()) if len(again) else 0.0,
        bar,
        by_chance,
        {
            "their latent is not active often enough before its tokens in test documents": int((~looked).sum()),
            "their latent's tokens follow it no more often than by chance in test documents": int((~surprised).sum()),
            "their weight in test documents is one that shuffles reach": int((surprised & ~strong).sum()),
        },
    )


def _joined(parts: Sequence[Leads]) -> Leads:
    if not parts:
        return Leads(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Leads(*map(np.concatenate, zip(*parts, strict=True)))


def _above(leads: Leads, bar: float) -> Leads:
    return leads.of(leads.weight > bar)
