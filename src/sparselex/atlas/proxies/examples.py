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

MOST_BACKGROUND = 1 << 22
"""Bytes of training text that the corpus is taken from: of three bytes at a time more say no more."""


class ExamplesProxy(Config):
    """Tokens that read like some texts: the log of how much likelier the last tokens are by these than by the corpus.

    The corpus is a model of each byte given the two before it, mixed with shorter memories as often as these were met
    with something new (Witten and Bell 1991). The examples are that model adapted to them, memory by memory: what they
    say nothing of is as likely as in the corpus, so that a few hundred bytes suffice, and what is rare in both does not
    speak for them. Bytes need no tokenizer, and know of parts of characters.
    """

    edges: ClassVar[tuple[float, ...]] = (0.0, 5.0, 15.0)

    kind: Literal["examples"] = "examples"
    """Which kind of rule it is."""

    texts: Annotated[tuple[str, ...], Field(min_length=1)]
    """The examples."""

    n_tokens: Annotated[int, Field(gt=0, le=64)] = 4
    """Tokens that are looked at together, each with those before it in its row."""

    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of tokens that are taken to be like the examples before a token is looked at: at 0.01 these have to be 99
    times as likely as the corpus."""

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
        like = counted_threes(b"\n\n" + b"\n\n".join(given))
        self.table = adapted(counted_threes(train.data[:MOST_BACKGROUND]), like)
        """`[2**24]`, the log of how much likelier the last of three bytes is in the examples."""

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, the score of every token."""
        sums = np.concatenate([[0.0], np.cumsum(self.table[threes(text.data)], dtype=np.float64)])
        own = sums[text.ends] - sums[text.starts]
        upto = np.cumsum(own)
        first = np.arange(len(own)) - np.minimum(text.windows, self._of.n_tokens - 1)
        return upto - upto[first] + own[first] + np.log(self._of.prior / (1 - self._of.prior))


def threes(data: bytes) -> NDArray[np.int64]:
    """`[n]`, each byte with the two before it as one number; before the first stand line ends."""
    values = np.frombuffer(b"\n\n" + data, dtype=np.uint8).astype(np.int64)
    return (values[:-2] << 16) | (values[1:-1] << 8) | values[2:]


def counted_threes(data: bytes) -> NDArray[np.int64]:
    """`[256, 256, 256]`, how often each byte was met behind two others."""
    return np.bincount(threes(data), minlength=1 << 24).reshape(256, 256, 256)


def adapted(corpus: NDArray[np.int64], examples: NDArray[np.int64]) -> NDArray[np.float32]:
    """`[2**24]`, the log of how much likelier the last of three bytes is by a model that was adapted to examples than
    by that of the corpus, both from counts `[256, 256, 256]`."""
    base: NDArray[np.float64] = np.full(256, 1 / 256)
    ratio: NDArray[np.float64] = np.ones(256)
    for of_corpus, of_examples in zip(_memories(corpus), _memories(examples), strict=True):
        base = _mixed(of_corpus, base)
        # The corpus by a longer memory, turned to the examples as far as a shorter one told.
        turned = base * ratio
        turned /= turned.sum(-1, keepdims=True)
        ratio = _mixed(of_examples, turned) / base
    return np.log(ratio).astype(np.float32).reshape(-1)


def _memories(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Counts of a byte by itself, behind one byte, and behind two."""
    return counts.sum((0, 1)), counts.sum(0), counts


def _mixed(counts: NDArray[np.int64], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities by counts, mixed with those of a shorter memory as often as something new was met; never met, a
    memory says nothing of its own."""
    total, new = counts.sum(-1, keepdims=True), np.maximum((counts > 0).sum(-1, keepdims=True), 1e-9)
    return (counts + new * shorter) / (total + new)
