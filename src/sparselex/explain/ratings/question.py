"""What a person is asked: windows of held-out text, and two explanations in a drawn order.

All of it follows from an id that is drawn for each question, so that nothing is kept before it is answered, and what
is sent back need not say what it was.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sparselex.base.config import Config
from sparselex.base.files import fingerprint
from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator
from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.embedding.words import spoken
from sparselex.explain.evidence import HeldOut
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.explain.windows import TokenWindows, activations, drawn
from sparselex.features.index import FeatureIndex
from sparselex.features.printing import visible

WINDOW, N_WINDOWS = 32, 6
"""Tokens of a window, and windows of a question."""

MARKED = 0.3
"""Share of a window's largest activation from which a token is marked, as judges have it marked."""

_AGAINST_NULL = 0.5
"""Share of questions against another latent's explanation, where another explainer's could be asked about."""

_TRIES = 50
"""Latents that are drawn at most until one is active in test documents."""


class Part(Config):
    """Some text of a window."""

    text: str
    """The text."""

    marked: bool
    """Whether the latent is active on it."""


class Asked(NamedTuple):
    """A question, and what is not said of it."""

    latent: int
    a: Explanation
    b: Explanation
    positions: list[int]
    windows: list[list[Part]]

    @property
    def texts(self) -> tuple[str, str]:
        """What is read of either explanation."""
        return _text(self.a), _text(self.b)

    @property
    def shown(self) -> str:
        """Fingerprint of what a person reads, and of nothing else."""
        return fingerprint([*self.texts, [[part.to_json() for part in window] for window in self.windows]])


def _text(explanation: Explanation) -> str:
    return spoken(explanation.text, printed=explanation.predictor is not None)


class Asking:
    """Draws the questions of one index.

    Args:
        index: whose latents.
        store: what explainers say of them.
    """

    def __init__(self, index: FeatureIndex, store: ExplanationStore):
        self._index, self._store = index, store
        self._held_out = HeldOut(index)
        self._windows: TokenWindows = self._held_out.windows(WINDOW)

    def of(self, id: str) -> Asked | None:
        """The question with an id, the same as long as explanations are; None where there are no two explanations of
        latents that are active in test documents."""
        by_latent: dict[int, list[str]] = {}
        for latent, explainer in self._store.explained(self._index.id):
            by_latent.setdefault(latent, []).append(explainer)
        rng, latents = generator(0, "rate", self._index.id, id), sorted(by_latent)
        for _ in range(_TRIES if latents else 0):
            latent = latents[int(rng.integers(len(latents)))]
            numbers = self._drawn(latent, rng)
            pair = self._pair(latent, by_latent, rng) if len(numbers) else None
            if pair is not None:
                return self._asked(latent, pair, numbers)
        return None

    def _drawn(self, latent: int, rng: np.random.Generator) -> list[int]:
        active = self._windows.active(self._held_out.column(latent))
        places = drawn(active, "intervals", N_WINDOWS, rng)
        return [int(number) for number in rng.permutation(active.numbers[places])]

    def _pair(
        self, latent: int, by_latent: dict[int, list[str]], rng: np.random.Generator
    ) -> tuple[Explanation, Explanation] | None:
        """Two explanations in a drawn order, of which one is the latent's; None where both say the same."""
        explainers = by_latent[latent]
        own = explainers[int(rng.integers(len(explainers)))]
        others = [name for name in explainers if name != own]
        other, of = own, latent
        if others and rng.random() >= _AGAINST_NULL:
            other = others[int(rng.integers(len(others)))]
        else:
            also = [one for one, who in by_latent.items() if one != latent and own in who]
            of = also[int(rng.integers(len(also)))] if also else latent
        first, second = self._one(latent, own), self._one(of, other)
        if _text(first) == _text(second):
            return None
        return (first, second) if rng.random() < 0.5 else (second, first)

    def _one(self, latent: int, explainer: str) -> Explanation:
        return next(one for one in self._store.of_latent(self._index.id, latent) if one.explainer == explainer)

    def _asked(self, latent: int, pair: tuple[Explanation, Explanation], numbers: list[int]) -> Asked:
        column, tokens = self._held_out.column(latent), self._held_out.tokens
        ranges = [self._windows.ranks(number) for number in numbers]
        windows = [
            list(
                parts(
                    self._held_out.vocabulary,
                    tokens.tokens[ranks.start : ranks.stop].tolist(),
                    activations(column, ranks),
                )
            )
            for ranks in ranges
        ]
        return Asked(latent, *pair, [int(tokens.positions[ranks.start]) for ranks in ranges], windows)


def parts(vocabulary: Vocabulary, tokens: list[int], values: Floats) -> Iterator[Part]:
    """A window in parts, its active tokens marked; how active they are is not said."""
    marked = values >= MARKED * values.max() if values.any() else np.zeros(len(values), dtype=bool)
    borders = np.flatnonzero(np.diff(marked)) + 1
    for places in np.split(np.arange(len(tokens)), borders):
        text = vocabulary.decode([tokens[place] for place in places.tolist()])
        yield Part(text=visible(text, active=False), marked=bool(marked[places[0]]))
