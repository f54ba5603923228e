"""The examples of all latents as one text: what was hit, how near to their active tokens, and how that reads."""

import numpy as np
from numpy.typing import NDArray

from sparselex.features.index import FeatureIndex
from sparselex.features.printing import visible
from sparselex.features.searched import SearchedText
from sparselex.features.tokens import TokenTexts
from sparselex.server.finding.hits import Piece

N_EXAMPLES = 8
"""Largest training activations of each latent that are searched."""

MOST_TOKENS = 1 << 22
"""Tokens of text that are searched at most: some 20 bytes of memory each."""

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

    @property
    def n_tokens(self) -> int:
        """Tokens of text that are searched."""
        return int((self.text.documents >= 0).sum())

    def scores(self, hit: NDArray[np.int64]) -> NDArray[np.float64]:
        """`[d_sae]`, from 0 to 1: how near to its active token each latent's examples have what was hit, in the mean
        over its examples; 0 where none has it."""
        near = self.text.nearness(hit, self._distinct)
        near[self._distinct < 0] = 0
        total = np.zeros(len(self.n))
        for places in self._places:
            total += near[places]
        return total / self.n

    def snippet(self, hit: NDArray[np.int64], latent: int, texts: TokenTexts) -> list[Piece]:
        """The text around what was hit in the example that has it nearest to its active token; empty where none
        has."""
        slots = self.slots[latent][self.slots[latent] >= 0]
        near = self.text.nearest(hit, slots)
        away = np.where(near >= 0, np.abs(near - slots), np.iinfo(np.int64).max)
        best = int(away.argmin()) if len(away) else -1
        return self._read(hit, int(slots[best]), int(near[best]), texts) if best >= 0 and near[best] >= 0 else []

    def _read(self, hit: NDArray[np.int64], peak: int, near: int, texts: TokenTexts) -> list[Piece]:
        most = len(self.text.documents)
        around = np.arange(max(0, min(peak, near) - _AROUND), min(most, max(peak, near) + _AROUND + 1))
        around = around[self.text.together(around, peak)]
        tokens = self.text.corpus.tokens.reshape(-1)[self.text.positions(around)].tolist()
        found = hit[slice(*np.searchsorted(hit, [around[0], around[-1] + 1]))]
        return read(texts, tokens, np.isin(around, found).tolist(), int(np.searchsorted(around, peak)))


def read(texts: TokenTexts, tokens: list[int], found: list[bool], peak: int = -1) -> list[Piece]:
    """Tokens as text in pieces: what was found, the active token, and what stands between."""
    signs, pieces = texts.signs(tokens), list[Piece]()
    for text, start, end in zip(signs.texts, signs.starts, signs.starts[1:], strict=False):
        is_found, is_active = any(found[start:end]), start <= peak < end
        shown = visible(text, active=is_found or is_active)
        if pieces and (pieces[-1].found, pieces[-1].active) == (is_found, is_active):
            pieces[-1] = pieces[-1]._replace(text=pieces[-1].text + shown)
        else:
            pieces.append(Piece(shown, is_found, is_active))
    return pieces


def _rows(index: FeatureIndex, positions: NDArray[np.integer]) -> NDArray[np.int64]:
    """The rows that are searched: all that were counted or, where these are too many, those of examples."""
    n_ctx = index.corpus.n_ctx
    counted = np.flatnonzero(index.counted.reshape(-1, n_ctx).any(1))
    if len(counted) * n_ctx <= MOST_TOKENS:
        return counted
    by_rank = positions.T[positions.T >= 0] // n_ctx
    first = np.sort(np.unique(by_rank, return_index=True)[1])
    return np.sort(by_rank[first][: MOST_TOKENS // n_ctx])
