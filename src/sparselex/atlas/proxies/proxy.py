"""What a proxy is: a rule that gives every token of a text a score, above 0 where the token is of the concept."""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.proxies.text import SplitText

LEAST = 1e-10
"""What stands for the probability of a character outside of a class, as in the 2023 paper."""


class Background(NamedTuple):
    """How often each token is met in training text: what scores are relative to."""

    counts: NDArray[np.int64]
    """`[n_vocab]`, over the counted tokens of the training split."""

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """`[n_vocab]`, with one more of each token, so that none is impossible."""
        counts = self.counts.astype(np.float64) + 1
        return np.log(counts / counts.sum())


@runtime_checkable
class Learned(Protocol):
    """A proxy that is ready to score the text of any split."""

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, the score of every token of a split's documents."""
        ...


@runtime_checkable
class Proxy(Protocol):
    """A concept told by a rule of the text. A `Config` that has these is one, so that an artifact says what it was."""

    edges: ClassVar[tuple[float, ...]]
    """Scores at which the classes of its histogram are divided, ascending, 0 the first; one alone for a rule that says
    yes or no."""

    @property
    def words(self) -> str:
        """Which tokens are inside, in one sentence."""
        ...

    def learn(self, train: SplitText, background: Background) -> Learned:
        """What it needs of training text. Raises `UserError` for a rule that cannot be followed."""
        ...

    def to_json(self) -> dict[str, object]:
        """What it is, as JSON values."""
        ...
