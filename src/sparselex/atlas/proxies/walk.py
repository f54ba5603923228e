"""Look for the features that carry concepts: scores of every token, the best latent on training tokens, what it is
worth on test tokens, beside chance, neurons and twins."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.proxies.config import HowMeasured
from sparselex.atlas.proxies.measures import (
    Judged,
    carrier,
    class_words,
    figures_of,
    intervals_of,
    places_of,
    strongest,
    sums_of,
)
from sparselex.atlas.proxies.moments import Marked, Together, together
from sparselex.atlas.proxies.neurons import Attempts, Neurons
from sparselex.atlas.proxies.proxy import Background, Proxy
from sparselex.atlas.proxies.records import Carrier, ConceptFound
from sparselex.atlas.proxies.siblings import candidates, cover, flags_inside, judged_siblings
from sparselex.atlas.proxies.text import SplitText
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.features.counted import drawn_shift
from sparselex.features.index import FeatureIndex

N_PLACES = 12
"""Test tokens of each kind that are kept of a concept."""


class Scored(NamedTuple):
    """A concept, and what it says of the counted tokens."""

    name: str
    proxy: Proxy
    train: Marked
    scores: NDArray[np.float32]
    """`[n_test]`, its scores on test tokens."""

    @property
    def test(self) -> Marked:
        """Test tokens that are inside."""
        return Marked.of(self.scores)


class Beside(NamedTuple):
    """What latents are held against."""

    neurons: Neurons | None
    """None where they were left out."""

    no_neurons: str
    """Why, then."""

    twins: Mapping[str, FeatureIndex]
    """Indexes of runs that read random weights in the place of this one's, over the same text, by run."""


class Texts(NamedTuple):
    """The text that proxies are asked about."""

    train: SplitText
    test: SplitText
    background: Background


def texts_of(index: FeatureIndex) -> Texts:
    """The documents of both splits that an index counted tokens of. Raises `UserError` for an index that keeps a
    sample of activations, and where a split has no counted token."""
    index.check_whole("looking for concepts")
    for split in ("train", "test"):
        if not len(index.counted_tokens(split)):
            raise UserError(
                f"The index {index.path} counted no token of the {split} split.",
                "training tokens to choose a feature by, and test tokens to judge it by",
                "index more text, or choose other --shares for a new run.",
            )
    counts = np.bincount(index.counted_tokens("train").tokens, minlength=len(index.corpus.vocabulary))
    train, test = (SplitText(index.corpus, index.counted, split) for split in ("train", "test"))
    return Texts(train, test, Background(counts))


def scored(index: FeatureIndex, texts: Texts, name: str, proxy: Proxy) -> Scored:
    """What a proxy says of the counted tokens. Raises `UserError` like its methods."""
    learned = proxy.learn(texts.train, texts.background)
    train, test = (learned.scores(text)[text.counted].astype(np.float32) for text in (texts.train, texts.test))
    return Scored(name, proxy, Marked.of(train), test)


def found_of(
    index: FeatureIndex, concepts: Sequence[Scored], config: HowMeasured, beside: Beside
) -> tuple[list[ConceptFound], Together]:
    """The features that carry each of some concepts, and the sums of all latents with them, on training tokens."""
    rng = generator(config.seed, "proxies")
    train, test = index.counted_tokens("train"), index.counted_tokens("test")
    moves = [(drawn_shift(rng, len(train)), drawn_shift(rng, len(test))) for _ in range(config.n_shifts)]
    moved = [one.train.shifted(by) for by, _ in moves for one in concepts]
    with progress("latents and concepts", 1 + len(beside.twins), "indexes") as bar:
        every = together(index, train, [*(one.train for one in concepts), *moved])
        bar.advance(1)
        twins = dict[str, list[Carrier]]()
        for name, twin in beside.twins.items():
            twins[name] = _of_twin(twin, index, concepts, config)
            bar.advance(1)
    attempts = _attempts(index, concepts, beside)
    found = []
    with progress("concepts", len(concepts), "concepts") as bar:
        for place, one in enumerate(concepts):
            shifted = [(place + (1 + n) * len(concepts), one.test.shifted(by)) for n, (_, by) in enumerate(moves)]
            by_chance = [_best(index, every, at, marked, config) for at, marked in shifted]
            controls = {run: carriers[place] for run, carriers in twins.items()}
            found.append(_concept(index, one, place, every, by_chance, attempts, controls, config))
            bar.advance(1)
    return found, every


def ranked(found: Together, concept: int, config: HowMeasured) -> NDArray[np.int64]:
    """Latents by their correlation with a concept on training tokens, the largest first."""
    of = np.where(found.n_active >= config.least_active, found.correlation[:, concept], -3.0)
    order = np.argsort(-of, kind="stable")
    return order[of[order] > -2]


def judged(index: FeatureIndex, latent: int, found: Together) -> Judged:
    """A latent on the test tokens."""
    return Judged(index.counted_column(latent, "test").sizes(), float(found.largest[latent]))


def judged_carrier(index: FeatureIndex, latent: int, found: Together, concept: int, test: Marked) -> Carrier:
    """A latent that was chosen for a concept, on the test tokens."""
    tokens = index.counted_tokens("test")
    sums = sums_of(judged(index, latent, found), test, tokens.documents, tokens.n_documents)
    return carrier(latent, float(found.correlation[latent, concept]), sums)


def _best(index: FeatureIndex, found: Together, concept: int, test: Marked, config: HowMeasured) -> Carrier:
    return judged_carrier(index, int(ranked(found, concept, config)[0]), found, concept, test)


def _of_twin(twin: FeatureIndex, index: FeatureIndex, concepts: Sequence[Scored], config: HowMeasured) -> list[Carrier]:
    """The best latent of a twin for each concept, over the tokens that it counted."""
    train, test = (_counted_in(twin, index, split) for split in ("train", "test"))
    found = together(twin, twin.counted_tokens("train"), [_carried(one.train, *train) for one in concepts])
    return [_best(twin, found, place, _carried(one.test, *test), config) for place, one in enumerate(concepts)]


def _counted_in(twin: FeatureIndex, index: FeatureIndex, split: Any) -> tuple[NDArray[np.int64], int]:
    """For each counted token of a split the rank that it has in a twin, -1 where that did not count it; and how many
    the twin counted."""
    mine, theirs = index.counted_tokens(split), twin.counted_tokens(split)
    at = np.searchsorted(theirs.positions, mine.positions).clip(max=max(0, len(theirs) - 1))
    return np.where(theirs.positions[at] == mine.positions, at, -1), len(theirs)


def _carried(marked: Marked, ranks: NDArray[np.int64], n_tokens: int) -> Marked:
    there = ranks[marked.ranks]
    return Marked(there[there >= 0], marked.scores[there >= 0], n_tokens)


def _attempts(index: FeatureIndex, concepts: Sequence[Scored], beside: Beside) -> Attempts:
    if beside.neurons is None:
        return Attempts([None] * len(concepts), beside.no_neurons)
    train, test = index.counted_tokens("train"), index.counted_tokens("test")
    return beside.neurons.attempts(train, [one.train for one in concepts], test, [one.test for one in concepts])


def _concept(
    index: FeatureIndex,
    one: Scored,
    place: int,
    found: Together,
    by_chance: list[Carrier],
    attempts: Attempts,
    twins: dict[str, Carrier],
    config: HowMeasured,
) -> ConceptFound:
    tokens, test = index.counted_tokens("test"), one.test
    order = ranked(found, place, config)
    best = int(order[0])
    column = judged(index, best, found)
    sums = sums_of(column, test, tokens.documents, tokens.n_documents)
    neuron = attempts.best[place]
    controls = ({"neuron": neuron} if neuron else {}) | twins
    allowed = candidates(found, place, best, config, len(one.train.ranks))
    flags = flags_inside(index, "train", [best, *allowed.tolist()], one.train)
    covered = np.zeros(len(one.train.ranks), dtype=bool)
    covered[flags.indices[: flags.indptr[1]]] = True
    taken = cover(flags[1:], allowed, covered, config.n_siblings)
    rng = generator(config.seed, "siblings", one.name)
    top = strongest(column.column, tokens.positions, index.corpus.n_ctx, N_PLACES)
    ranks, values = column.column
    out = np.flatnonzero(~test.flags()[ranks])
    wrong = out[strongest(type(column.column)(ranks[out], values[out]), tokens.positions, index.corpus.n_ctx, N_PLACES)]
    silent = np.setdiff1d(test.ranks, ranks)
    missed = np.sort(rng.choice(silent, min(N_PLACES, len(silent)), replace=False))
    places = lambda at, sizes: places_of(at, sizes, one.scores, tokens.positions)
    return ConceptFound(
        name=one.name,
        words=one.proxy.words,
        rule=dict(one.proxy.to_json()),
        n_train=len(one.train.ranks),
        n_test=len(test.ranks),
        n_documents=len(np.unique(tokens.documents[test.ranks])),
        share=len(test.ranks) / max(1, len(tokens)),
        figures=figures_of(one.name, sums, one.proxy.words, by_chance, controls),
        carriers=[judged_carrier(index, int(latent), found, place, test) for latent in order[: config.n_carriers]],
        classes=class_words(one.proxy.edges),
        intervals=intervals_of(column, one.scores, one.proxy.edges, config.n_intervals),
        siblings=judged_siblings(index, best, taken, test, found, config, rng),
        neuron=neuron,
        neuron_words=attempts.words,
        twins=twins,
        by_chance=by_chance,
        strongest=places(ranks[top], values[top]),
        outside=places(ranks[wrong], values[wrong]),
        missed=places(missed, np.zeros(len(missed))),
    )
