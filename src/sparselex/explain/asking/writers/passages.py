"""Windows of training text as a language model reads them: with the tokens marked on which a latent is active."""

from typing import NamedTuple

import numpy as np

from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.words import marked, marks, plain, quoted
from sparselex.explain.evidence import SplitEvidence
from sparselex.explain.windows import activations, drawn

_MARKED = 0.3
"""Share of a window's largest activation from which a token is marked."""

_STRENGTHS, _MOST_STRENGTHS = 10, 11
"""Steps of strength, and tokens of a window whose strengths are said."""

WITH_STRENGTHS = (
    f" Behind each passage some of them stand once more with how active the feature is on them, 1 to {_STRENGTHS}."
)


class Window(NamedTuple):
    """A window in which a latent is active."""

    tokens: list[int]
    """Its tokens."""

    values: Floats
    """`[n]`, what the latent is on each."""

    peak: float
    """The largest activation in all windows of the latent."""


class Passages:
    """Windows of training documents, as many as the configuration says."""

    def __init__(self, train: SplitEvidence, config: AskConfig):
        self.train, self.config, self.grid = train, config, train.windows(config.window)

    def active(self, latent: int) -> list[Window]:
        """The windows that a latent is explained by; none where it is active in none that can be shown."""
        column, config = self.train.column(latent), self.config
        active = self.grid.active(column)
        places = drawn(active, config.sampling, config.examples, generator(config.seed, "shown", latent))
        ranges = [self.grid.ranks(int(active.numbers[place])) for place in places]
        return [Window(self.tokens(ranks), activations(column, ranks), float(active.peaks.max())) for ranks in ranges]

    def tokens(self, ranks: range) -> list[int]:
        """The tokens of these ranks."""
        return self.train.tokens.tokens[ranks.start : ranks.stop].tolist()

    def plain(self, tokens: list[int]) -> str:
        """Tokens as text without marks."""
        return plain(self.train.vocabulary, tokens)

    def pair(self, windows: list[Window]) -> tuple[str, str]:
        """Marks that stand in none of these windows."""
        return marks(self.plain(window.tokens) for window in windows)

    def snippet(self, window: Window, pair: tuple[str, str], before: int, behind: int) -> str:
        """The most active token of a window between marks, with so many tokens around it."""
        place = int(window.values.argmax())
        begin = max(0, place - before)
        tokens = window.tokens[begin : place + behind + 1]
        return marked(self.train.vocabulary, tokens, frozenset((place - begin,)), pair)

    def text(self, window: Window, pair: tuple[str, str]) -> str:
        """A window with its active tokens between marks, and behind it how active they are, where that is wanted."""
        values = window.values
        which = np.flatnonzero(values >= _MARKED * values.max())
        text = marked(self.train.vocabulary, window.tokens, frozenset(which.tolist()), pair)
        if not self.config.strengths:
            return text
        strongest = np.sort(which[np.argsort(-values[which], kind="stable")[:_MOST_STRENGTHS]])
        steps = np.ceil(_STRENGTHS * values[strongest] / window.peak).astype(int)
        said = [
            f"{quoted(self.plain([window.tokens[place]]))} {step}"
            for place, step in zip(strongest.tolist(), steps.tolist(), strict=True)
        ]
        return f"{text}\n({', '.join(said)})"
