"""Which windows of held-out text are judged for a latent."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Kind
from sparselex.explain.asking.mistaken import Mistaken, some
from sparselex.explain.asking.words import plain
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.windows import activations, drawn
from sparselex.features.counted import Column

_POOL = 1000
"""Windows among which silent ones are drawn: enough to stand for all, few enough that what is known of one serves many
latents."""


class Drawn(NamedTuple):
    """The windows of one latent that are to be judged."""

    numbers: NDArray[np.int64]
    """`[n]`, which windows, in a drawn order."""

    kinds: list[Kind]
    """What each is."""

    strong: NDArray[np.bool_]
    """`[n]`, whether an active one is of the stronger half of those that there are."""

    base_rate: float
    """Share of all windows in which the latent is active."""


class Drawing:
    """Draws windows of test documents, the same for everybody who has the same configuration.

    Args:
        evidence: training documents, which tell the tokens that a latent is known by.
        held_out: the documents of which windows are drawn.
        config: how many.
    """

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig):
        self.train, self.test, self.config = evidence.train, held_out, config
        self.windows = held_out.windows(config.window)
        self._mistaken = Mistaken(evidence.train, held_out, self.windows, config)

    def column(self, latent: int) -> Column:
        """A latent on the held-out tokens."""
        return self.test.column(latent)

    def draw(self, latent: int, hard: tuple[Kind, ...]) -> Drawn:
        """Active, silent and easily mistaken windows, an equal number of each of the kinds `hard`, shuffled."""
        config, rng = self.config, generator(self.config.seed, "judged", latent)
        column, windows = self.column(latent), self.windows
        active, silent = windows.active(column), windows.silent(column)
        # In each order of drawing what was drawn is the same whatever is drawn after it.
        places = drawn(active, "intervals", config.active, rng)
        parts: list[tuple[Kind, NDArray[np.int64]]] = [
            ("active", active.numbers[places]),
            ("silent", self._silent(silent, rng)),
        ]
        for kind in hard:
            taken = np.concatenate([numbers for _, numbers in parts])
            every = active.numbers if kind == "wrong" else self._mistaken.of(kind, latent)
            n = config.hard // len(hard)
            new = some(np.setdiff1d(every, taken, assume_unique=True), n, rng)
            # Of rare latents all active windows are judged already: with other tokens marked they are others.
            again = some(every, n - len(new), rng) if kind == "wrong" else every[:0]
            parts.append((kind, np.concatenate([new, np.setdiff1d(again, new)])))
        numbers = np.concatenate([numbers for _, numbers in parts])
        kinds: list[Kind] = [kind for kind, numbers in parts for _ in numbers]
        strong = np.zeros(len(numbers), dtype=bool)
        if len(places):
            strong[: len(places)] = active.peaks[places] > np.median(active.peaks)
        order = rng.permutation(len(numbers))
        base_rate = len(active.numbers) / max(1, int(windows.usable.sum()))
        return Drawn(numbers[order], [kinds[place] for place in order], strong[order], base_rate)

    def items(self, latent: int, drawn: Drawn) -> list[Item]:
        """The windows that were drawn, as text without marks."""
        column, tokens, found = self.column(latent), self.test.tokens, list[Item]()
        for number, kind, strong in zip(drawn.numbers.tolist(), drawn.kinds, drawn.strong.tolist(), strict=True):
            ranks = self.windows.ranks(number)
            values = activations(column, ranks)
            place = int(values.argmax()) if values.any() else len(ranks) // 2
            text = plain(self.test.vocabulary, tokens.tokens[ranks.start : ranks.stop].tolist())
            position = int(tokens.positions[ranks.start + place])
            found.append(Item(number, kind, strong, position, float(np.max(values)), text))
        return found

    def lookup(self, latent: int, numbers: NDArray[np.int64]) -> Floats:
        """`[n]`, the largest mean training activation of the tokens in each window."""
        return np.array([values.max() for values in self.lookup_tokens(latent, numbers)])

    def lookup_tokens(self, latent: int, numbers: NDArray[np.int64]) -> list[Floats]:
        """The mean training activation of every token of each window."""
        table = np.zeros(self.test.tokens.n_vocab)
        column, tokens = self.train.column(latent), self.train.tokens.tokens
        mass = np.bincount(tokens[column.ranks], column.values, len(table))
        table[: len(self._often)] = mass / np.maximum(self._often, 1)
        of, ranges = self.test.tokens.tokens, [self.windows.ranks(int(number)) for number in numbers]
        return [table[of[ranks.start : ranks.stop]] for ranks in ranges]

    def _silent(self, silent: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Silent windows, of those that are drawn for all latents where these are enough."""
        there = np.intersect1d(silent, self._pool, assume_unique=True)
        return some(there if len(there) >= self.config.silent else silent, self.config.silent, rng)

    @cached_property
    def _pool(self) -> NDArray[np.int64]:
        return some(np.flatnonzero(self.windows.usable), _POOL, generator(self.config.seed, "pool"))

    @cached_property
    def _often(self) -> NDArray[np.int64]:
        """`[n_vocab]`, how often each token stands in training text."""
        return np.bincount(self.train.tokens.tokens, minlength=self.test.tokens.n_vocab)
