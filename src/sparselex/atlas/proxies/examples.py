"""A proxy that is like some examples: how much likelier a token's bytes are in texts that a person gives than in the
corpus."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sparselex.atlas.proxies.proxy import Background
from sparselex.atlas.proxies.text import SplitText
from sparselex.base.config import Config
from sparselex.base.errors import UserError

LEAST_BYTES = 8
"""Bytes of examples below which nothing can be told."""

MOST_BACKGROUND = 1 << 23
"""Bytes of training text that the corpus is taken from: of three bytes at a time more say no more."""

_PRIOR = 0.01
"""Share of tokens that are taken to be like the examples before a token is looked at: examples have to be 99 times as
likely as the corpus. With even chances one token in five of any text would be inside."""


class ExamplesProxy(Config):
    """Tokens that read like some texts: the log of how much likelier the last tokens are by these than by the corpus.

    Both are models of bytes, each given the two before it, mixed with shorter memories as often as these were met with
    something new (Witten and Bell 1991). Bytes need no tokenizer, know of parts of characters, and tell a word from
    another by its letters, which a few examples are enough for.
    """

    edges: ClassVar[tuple[float, ...]] = (0.0, 5.0, 15.0)

    kind: Literal["examples"] = "examples"
    """Which kind of rule it is."""

    texts: Annotated[tuple[str, ...], Field(min_length=1)]
    """The examples."""

    n_tokens: Annotated[int, Field(gt=0, le=64)] = 4
    """Tokens that are looked at together, each with those before it in its row."""

    said: str = ""
    """What they are, in words; left out, how many."""

    @property
    def words(self) -> str:
        """What they are."""
        n = len("".join(self.texts).encode("utf-8", "surrogateescape"))
        return self.said or f"tokens that read like {n:,} bytes of examples"

    def learn(self, train: SplitText, background: Background) -> "LearnedExamples":
        """Both models. Raises `UserError` for examples that are too short."""
        given = [one.encode("utf-8", "surrogateescape") for one in self.texts]
        if sum(map(len, given)) < LEAST_BYTES:
            raise UserError(
                f"The examples are {sum(map(len, given))} bytes long.", f"{LEAST_BYTES} or more", "give more of them."
            )
        return LearnedExamples(self, given, train)


class LearnedExamples:
    """Examples beside some training text."""

    def __init__(self, of: ExamplesProxy, given: list[bytes], train: SplitText):
        self._of = of
        # Begun behind a line end, as documents are.
        self.table = _log_probabilities(b"\n\n" + b"\n\n".join(given)) - _log_probabilities(
            train.data[:MOST_BACKGROUND]
        )
        """`[2**24]`, the log of how much likelier the last of three bytes is in the examples."""

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, the score of every token."""
        sums = np.concatenate([[0.0], np.cumsum(self.table[_threes(text.data)], dtype=np.float64)])
        own = sums[text.ends] - sums[text.starts]
        upto = np.cumsum(own)
        first = np.arange(len(own)) - np.minimum(text.windows, self._of.n_tokens - 1)
        together = upto - upto[first] + own[first]
        return together + np.log(_PRIOR / (1 - _PRIOR))


def _threes(data: bytes) -> NDArray[np.int64]:
    """`[n]`, each byte with the two before it as one number; before the first stand line ends."""
    values = np.frombuffer(b"\n\n" + data, dtype=np.uint8).astype(np.int64)
    return (values[:-2] << 16) | (values[1:-1] << 8) | values[2:]


def _log_probabilities(data: bytes) -> NDArray[np.float32]:
    """`[2**24]`, the log probability of the last of three bytes, given the two before it, by some text."""
    three = np.bincount(_threes(data), minlength=1 << 24).reshape(256, 256, 256)
    two, one = three.sum(0), three.sum((0, 1))
    shorter = np.broadcast_to(1 / 256, (256,))
    for counts in (one, two, three):
        total = counts.sum(-1, keepdims=True).astype(np.float32)
        new = (counts > 0).sum(-1, keepdims=True).astype(np.float32)
        # Never met, a memory says nothing of its own.
        shorter = (counts + np.maximum(new, 1e-9) * shorter) / (total + np.maximum(new, 1e-9))
    return np.log(shorter).astype(np.float32).reshape(-1)
