"""Proxies that are classes of characters, scored as in the 2023 paper by how much likelier a text is in the class."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparselex.atlas.proxies.proxy import LEAST, Background
from sparselex.atlas.proxies.text import SplitText, best_windows
from sparselex.base.config import Config


class CharactersProxy(Config):
    """Tokens of a text in which every character is of one alphabet (base64, hexadecimal digits): the log of how much
    likelier the tokens up to each are there than anywhere, in the window that ends at it where that is largest.

    In the class each character is as likely as any other, 1 / |alphabet|, and one outside of it has 1e-10; anywhere,
    tokens are as likely as their counts say (Bricken et al. 2023, appendix on feature proxies).
    """

    edges: ClassVar[tuple[float, ...]] = (0.0, 5.0, 15.0)

    kind: Literal["characters"] = "characters"
    """Which kind of rule it is."""

    alphabet: str
    """The characters."""

    least_tokens: Annotated[int, Field(gt=0, le=100)] = 1
    """Tokens that a window has at the fewest."""

    said: str = ""
    """What they are, in words; left out, the alphabet."""

    @property
    def words(self) -> str:
        """What they are."""
        return self.said or f"tokens of runs of the characters {self.alphabet!r}"

    def learn(self, train: SplitText, background: Background) -> "LearnedCharacters":
        """What each token of the vocabulary is worth."""
        return LearnedCharacters(self, background)


class LearnedCharacters:
    """A class of characters beside the tokens of some training text."""

    def __init__(self, of: CharactersProxy, background: Background):
        self._of, self._background = of, background

    def ratios(self, text: SplitText) -> NDArray[np.float64]:
        """`[n_vocab]`, the log of how much likelier each token is in the class."""
        inside = np.array([self._log_inside(data) for data in text.token_bytes])
        return inside - self._background.log_probabilities

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, the score of every token; what 1e-10 is worth where no window has tokens enough."""
        found = best_windows(self.ratios(text)[text.tokens], text.windows, self._of.least_tokens)
        return np.maximum(found, np.log(LEAST))

    def _log_inside(self, data: bytes) -> float:
        letters = set(self._of.alphabet)
        # A byte that is no whole character stands for part of one that is outside.
        whole = data.decode("utf-8", "surrogateescape")
        n_inside = sum(character in letters for character in whole)
        return -n_inside * float(np.log(len(letters))) + (len(whole) - n_inside) * float(np.log(LEAST))
