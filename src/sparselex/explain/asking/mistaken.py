"""Silent windows that are easily mistaken for active ones, of several kinds."""

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Kind
from sparselex.explain.asking.words import plain
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import lacking
from sparselex.explain.embedding.vectors import Vectors
from sparselex.explain.evidence import SplitEvidence
from sparselex.explain.windows import TokenWindows, drawn

_OFTEN = 5
"""Tokens on which a latent is active most often, that silent windows are looked through for."""

_NEAR = 3
"""Latents nearest to it, by direction or by being active together, whose active windows are looked at."""

_EMBEDDED = 4000
"""Held-out windows in the index of meanings, which all latents share: a minute or two of a processor."""

_LIKE = 10
"""Active training windows to which windows of like meaning are looked for."""

_NEAREST = 40
"""Windows of the nearest meaning among which some are drawn."""


class Mistaken:
    """Looks for held-out windows in which a latent is silent although something speaks for it.

    Args:
        train: training documents, which tell what a latent is known by.
        test: the documents of the windows.
        windows: their windows.
        config: which encoder tells meanings, and the seed.

    Raises `UserError` where windows of like meaning are wanted and the encoder is not installed.
    """

    def __init__(self, train: SplitEvidence, test: SplitEvidence, windows: TokenWindows, config: AskConfig):
        self._train, self._test, self._windows, self._config = train, test, windows, config
        if "alike" in config.negatives and (why := lacking(config.encoder)):
            raise UserError(
                f"Windows of like meaning cannot be found: {why}.",
                "a sentence encoder, for negatives that are alike",
                "install it as said, or leave alike out of --negatives.",
            )

    def of(self, kind: Kind, latent: int) -> NDArray[np.int64]:
        """The silent windows of a kind, ascending."""
        match kind:
            case "token":
                return self._silent_at(latent, self._own_tokens(latent))
            case "neighbour":
                return self._silent_at(latent, self._active_ranks(self._test.neighbours(latent)))
            case "cofiring":
                return self._silent_at(latent, self._active_ranks(self._test.coactive(latent)))
            case "alike":
                return self._alike(latent)
        raise ValueError(kind)

    def _silent_at(self, latent: int, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._windows.silent_at(self._test.column(latent), ranks)

    def _own_tokens(self, latent: int) -> NDArray[np.int64]:
        """Where the tokens stand on which it is active most often."""
        seen = self._train.tokens.tokens[self._train.column(latent).ranks]
        often = np.argsort(-np.bincount(seen, minlength=1), kind="stable")[:_OFTEN]
        order, starts = self._by_token
        return _joined([order[starts[token] : starts[token + 1]] for token in often if token in seen])

    def _active_ranks(self, others: list[int]) -> NDArray[np.int64]:
        """Where the first few of other latents are active."""
        return _joined([self._test.column(other).ranks for other in others[:_NEAR]])

    def _alike(self, latent: int) -> NDArray[np.int64]:
        """The windows whose meaning is nearest to that of active training windows, among those in the index."""
        windows = self._train.windows(self._config.window)
        active = windows.active(self._train.column(latent))
        rng = generator(self._config.seed, "alike", latent)
        own = active.numbers[drawn(active, "intervals", _LIKE, rng)]
        if not len(own):
            return own
        encoder = self._config.encoder
        towards = _vectors(encoder).of(_texts(self._train, windows, own)).mean(0)
        numbers, vectors = _meanings(self._test, self._windows.size, encoder, self._config.seed)
        is_silent = np.isin(numbers, self._windows.silent(self._test.column(latent)), assume_unique=True)
        nearest = np.argsort(-(vectors[is_silent] @ towards), kind="stable")[:_NEAREST]
        return np.sort(numbers[is_silent][nearest])

    @cached_property
    def _by_token(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Held-out ranks ordered by token, and where those of each token begin."""
        tokens = self._test.tokens.tokens
        order = np.argsort(tokens, kind="stable")
        return order, np.searchsorted(tokens[order], np.arange(self._test.tokens.n_vocab + 1))


# All judges of a walk look into the same.
@lru_cache(maxsize=1)
def _meanings(
    split: SplitEvidence, size: int, encoder: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`[n]` windows drawn for all latents, and `[n, width]` what they mean."""
    windows = split.windows(size)
    numbers = np.sort(some(np.flatnonzero(windows.usable), _EMBEDDED, generator(seed, "meanings")))
    with progress("read the meaning of windows", len(numbers), "windows") as bar:
        return numbers, _vectors(encoder).of(_texts(split, windows, numbers), bar.advance)


@lru_cache(maxsize=1)
def _vectors(encoder: str) -> Vectors:
    return Vectors(EmbedConfig(encoder=encoder))


def some(numbers: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`n` of these, or all where there are fewer, in a drawn order."""
    return rng.permutation(numbers)[:n]


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([*parts, np.empty(0, dtype=np.int64)])


def _texts(split: SplitEvidence, windows: TokenWindows, numbers: NDArray[np.int64]) -> list[str]:
    tokens, ranges = split.tokens.tokens, [windows.ranks(number) for number in numbers.tolist()]
    return [plain(split.vocabulary, tokens[ranks.start : ranks.stop].tolist()) for ranks in ranges]
