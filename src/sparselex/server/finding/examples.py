"""The examples of all latents as one text: what was hit, how near to their active tokens, and how that reads."""

from functools import cached_property
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from sparselex.features.index import FeatureIndex
from sparselex.features.printing import shown, shown_silent
from sparselex.features.searched import SearchedText
from sparselex.features.tokens import TokenTexts
from sparselex.server.finding.hits import Piece

N_EXAMPLES = 8
"""Largest training activations of each latent that are searched."""

MOST_TOKENS = 1 << 22
"""Tokens of text that are searched at most: some 20 bytes of memory each."""

_FEW = 20
"""Where as many distinct examples come on each place that was hit, the examples near to these are looked up."""

_AROUND = 8
"""Tokens that a snippet shows to either side of what was found."""


class ExampleText:
    """The largest training activations of every latent in the rows that they stand in. Of a corpus larger than
    `MOST_TOKENS` the rows of the very largest activations come first."""

    def __init__(self, index: FeatureIndex):
        self.positions = np.asarray(index.all_top_positions[:, :N_EXAMPLES])
        self.text = SearchedText(index.corpus, _rows(index, self.positions))
        self.slots = self.text.slots(self.positions)
        self.n = np.maximum(1, (self.slots >= 0).sum(1))
        self._distinct, place = np.unique(self.slots, return_inverse=True)
        # A row for each rank: sums over a handful of columns cost ten of sums of rows.
        self._places = np.ascontiguousarray(place.reshape(self.slots.shape).T, dtype=np.int32)
        # The same the other way: the latents of each distinct slot, those of the first behind one another, and so on.
        self._owners = (np.argsort(self._places.reshape(-1), kind="stable") % len(self.slots)).astype(np.int32)
        self._starts = np.concatenate([[0], np.bincount(place.reshape(-1), minlength=len(self._distinct)).cumsum()])

    @cached_property
    def n_tokens(self) -> int:
        """Tokens of text that are searched."""
        return int((self.text.documents >= 0).sum())

    def scores(self, hit: NDArray[np.int64]) -> NDArray[np.float64]:
        """`[d_sae]`, from 0 to 1: how near to its active token each latent's examples have what was hit, in the mean
        over its examples; 0 where none has it."""
        if len(hit) * _FEW < len(self._distinct):
            return self._scores_of_few(hit)
        near = self.text.nearness(hit, self._distinct)
        near[self._distinct < 0] = 0
        total = np.zeros(len(self.n))
        for places in self._places:
            total += near[places]
        return total / self.n

    def _scores_of_few(self, hit: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same from the slots near to what was hit, where that are few: 1 ms instead of 6."""
        at = self.text.shown_with(hit, self._distinct)
        at = at[self._distinct[at] >= 0]
        near, n = self.text.nearness(hit, self._distinct[at]), self._starts[at + 1] - self._starts[at]
        owners = self._owners[np.arange(int(n.sum())) + np.repeat(self._starts[at] - (n.cumsum() - n), n)]
        return np.bincount(owners, np.repeat(near, n), minlength=len(self.n)) / self.n

    def snippets(self, hit: NDArray[np.int64], latents: list[int], texts: TokenTexts) -> list[list[Piece]]:
        """For each latent the text around what was hit in the example that has it nearest to its active token; empty
        where none has."""
        slots = self.slots[latents]
        near = self.text.nearest(hit, slots.reshape(-1)).reshape(slots.shape)
        away = np.where((near >= 0) & (slots >= 0), np.abs(near - slots), np.iinfo(np.int64).max)
        there = np.arange(len(latents)), away.argmin(1)
        best = zip(slots[there].tolist(), near[there].tolist(), strict=True)
        return [self._read(hit, peak, nearest, texts) if min(peak, nearest) >= 0 else [] for peak, nearest in best]

    def _read(self, hit: NDArray[np.int64], peak: int, near: int, texts: TokenTexts) -> list[Piece]:
        row, document = peak // self.text.width * self.text.width, self.text.documents[peak]
        first = max(row, min(peak, near) - _AROUND)
        end = min(row + self.text.width, max(peak, near) + _AROUND + 1)
        same = self.text.documents[first:end] == document
        around = np.arange(first, end)[same].tolist()
        row_tokens = self.text.corpus.tokens[self.text.rows[row // self.text.width]]
        tokens = row_tokens[first - row : end - row][same[: len(row_tokens) - (first - row)]].tolist()
        found = set(hit[slice(*np.searchsorted(hit, [first, end]))].tolist())
        return read(texts, tokens, [slot in found for slot in around], around.index(peak))


def read(texts: TokenTexts, tokens: list[int], found: list[bool], peak: int = -1) -> list[Piece]:
    """Tokens as text in pieces: what was found, the active token, and what stands between."""
    signs = texts.signs(tokens)
    kinds = [
        (any(found[start:end]), start <= peak < end) for start, end in zip(signs.starts, signs.starts[1:], strict=False)
    ]
    pieces = groupby(zip(kinds, signs.texts, strict=True), key=itemgetter(0))
    return [
        Piece("".join([(shown if any(kind) else shown_silent)(text) for _, text in group]), *kind)
        for kind, group in pieces
    ]


def _rows(index: FeatureIndex, positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """The rows that are searched: all that were counted or, where these are too many, those of examples."""
    n_ctx = index.corpus.n_ctx
    counted = np.flatnonzero(index.counted.reshape(-1, n_ctx).any(1))
    if len(counted) * n_ctx <= MOST_TOKENS:
        return counted
    by_rank = positions.T[positions.T >= 0] // n_ctx
    first = np.sort(np.unique(by_rank, return_index=True)[1])
    return np.sort(by_rank[first][: MOST_TOKENS // n_ctx])
