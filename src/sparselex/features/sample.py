"""A sample of counted tokens with all that is active on them: what co-activation and correlated neurons are read from.

A token has a number that depends on its position and the seed alone; the sample is the tokens with the lowest numbers
that can be afforded. So it grows batch by batch without anybody knowing how many will come, and parts of a corpus that
were read apart merge into the very sample of one pass.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.features.examples import uniform

PAIRS_PER_TOKEN = 16
"""Pairs of latents active on one token that may be counted, for each token of the text that is read: the work of
co-activation, as a small share of reading the text. Where 32 latents are active they are those of one token in 64."""

PAIRS_PER_LATENT = (1024, 16384)
"""The same for each latent of the dictionary, at least and at most: a latent's own active tokens, times the number of
latents that are active with it."""

FEWEST_TOKENS = 1024
"""Tokens that are taken however many latents are active on them."""

MOST_TOKENS = 1 << 18
"""Tokens that are taken at most."""

MOST_READ_TOKENS, MOST_READ = 4096, 1 << 24
"""Tokens whose activations are kept as they were read, and coordinates of all of them together: 64 MB."""


class Sampled(NamedTuple):
    """Tokens, those of the lowest numbers first."""

    positions: NDArray[np.int64]
    """`[n]`, where in the corpus they stand."""

    indptr: NDArray[np.int64]
    """`[n + 1]`, where the entries of each begin."""

    latents: NDArray[np.int32]
    """`[nnz]`, what is active on them."""

    values: NDArray[np.float32]
    """`[nnz]`, activations."""

    x: NDArray[np.float32]
    """`[n_read, d_in]`, what the dictionary read at the first `n_read` of them."""


class TokenSample:
    """Collects the sample; `merge` of two that saw different tokens equals one that saw all.

    Args:
        d_sae: latents.
        d_in: width of what is read.
        seed: of the tokens' numbers.
        n_tokens: tokens of the whole text that is read, which says how many pairs of latents may be counted.
    """

    def __init__(self, d_sae: int, d_in: int, seed: int, n_tokens: int):
        self._seed = seed
        least, most = (d_sae * pairs for pairs in PAIRS_PER_LATENT)
        self._n_pairs = min(max(PAIRS_PER_TOKEN * n_tokens, least), most)
        self._most_read = max(1, min(MOST_READ_TOKENS, MOST_READ // d_in))
        self._parts = [_Part.empty(d_in)]
        self._bars = np.full(2, np.inf)  # the lowest number that was left out, and the lowest whose x was
        self._waiting = 0

    def update(
        self,
        positions: NDArray[np.int64],
        indptr: NDArray[np.int64],
        latents: NDArray,
        values: NDArray[np.float32],
        x: NDArray[np.float32],
    ) -> None:
        """Offer a batch: the codes of its tokens as compressed rows, and what was read `[n, d_in]`."""
        keys = uniform(positions, self._seed)
        taken = np.flatnonzero(keys < self._bars[0])
        if not len(taken):
            return
        read = taken[keys[taken] < self._bars[1]]
        lengths = np.diff(indptr)[taken]
        entries = _ranges(indptr[:-1][taken], lengths)
        part = _Part(
            keys[taken],
            positions[taken],
            lengths,
            latents[entries].astype(np.int32),
            values[entries],
            keys[read],
            x[read],
        )
        self._add(part)

    def merge(self, other: "TokenSample") -> None:
        """Take over what another has seen."""
        self._bars = np.minimum(self._bars, other._bars)  # what it left out is not to be made up for by others' tokens
        self._parts += other._parts
        self._prune()

    def state(self) -> dict[str, NDArray]:
        """What is kept so far as arrays, to go on from later."""
        self._prune()
        return self._parts[0]._asdict() | {"bars": self._bars}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Go on from what `state` gave."""
        self._bars = state["bars"]
        self._parts = [_Part(**{name: state[name] for name in _Part._fields})]
        self._prune()

    def finish(self) -> Sampled:
        """The sample."""
        self._prune()
        part = self._parts[0]
        last = part.keys[-1] if len(part.keys) else -1.0
        indptr = np.concatenate([[0], np.cumsum(part.lengths)])
        return Sampled(part.positions, indptr, part.latents, part.values, part.x[part.read_keys <= last])

    def _add(self, part: "_Part") -> None:
        self._parts.append(part)
        self._waiting += len(part.keys)
        # Doubling the sample before it is cut again keeps the sorting to a small share.
        if self._waiting > max(FEWEST_TOKENS, len(self._parts[0].keys)):
            self._prune()

    def _prune(self) -> None:
        part = _Part.joined(self._parts)
        order, read = np.argsort(part.keys), np.argsort(part.read_keys)
        pairs = np.cumsum(part.lengths[order].astype(np.float64) ** 2)
        n = min(max(int(np.searchsorted(pairs, self._n_pairs, "right")), FEWEST_TOKENS), MOST_TOKENS)
        order, self._bars[0] = _lowest(part.keys, order, n, self._bars[0])
        read, self._bars[1] = _lowest(part.read_keys, read, self._most_read, self._bars[1])
        self._parts, self._waiting = [part.at(order, read)], 0


def _lowest(keys: NDArray[np.float64], order: NDArray, n: int, bar: float) -> tuple[NDArray, float]:
    """Of the ascending `order` of keys the first `n` that lie below the bar, and the bar that is then."""
    if n < len(order):
        bar = min(bar, float(keys[order[n]]))
    return order[: np.searchsorted(keys[order], bar, "left")], bar


class _Part(NamedTuple):
    keys: NDArray[np.float64]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    latents: NDArray[np.int32]
    values: NDArray[np.float32]
    read_keys: NDArray[np.float64]
    x: NDArray[np.float32]

    @classmethod
    def empty(cls, d_in: int) -> "_Part":
        none = np.empty(0)
        whole, single = none.astype(np.int64), none.astype(np.float32)
        return cls(none, whole, whole, none.astype(np.int32), single, none, np.empty((0, d_in), dtype=np.float32))

    @classmethod
    def joined(cls, parts: "list[_Part]") -> "_Part":
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def at(self, tokens: NDArray, read: NDArray) -> "_Part":
        """These tokens, and what was read at those."""
        entries = _ranges((np.cumsum(self.lengths) - self.lengths)[tokens], self.lengths[tokens])
        return _Part(
            self.keys[tokens],
            self.positions[tokens],
            self.lengths[tokens],
            self.latents[entries],
            self.values[entries],
            self.read_keys[read],
            self.x[read],
        )


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of each range, one range behind the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
