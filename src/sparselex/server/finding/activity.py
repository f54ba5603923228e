"""Search by what latents are active on: a token, or a passage of the text."""

import numpy as np
import re2
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.formats import count, number, percent
from sparselex.server.finding.examples import read
from sparselex.server.finding.hits import Hits, MatchView, Piece
from sparselex.server.opened import OpenIndex
from sparselex.server.page import Impossible

_ELSEWHERE = 4
"""Tokens that a latent is imagined to be active on beside those that it is: a latent of a single token seen once is no
evidence of a preference."""

_SHOWN = 60
"""Tokens of a passage that are shown."""


def by_token(found: OpenIndex, typed: str) -> Hits:
    """Latents by the share of their activation that lies on a token, or on several. Raises `Impossible` where a token
    is named that the vocabulary has not."""
    tokens = _tokens(found, typed)
    index = found.index
    there = np.isin(index.corpus.tokens.reshape(-1), tokens) & index.counted
    n, on_them, _ = index.sums_at(there)
    share = on_them / np.maximum(index.masses, 1e-30)
    latents = np.flatnonzero(n)
    match = (share * n / (n + _ELSEWHERE))[latents]
    n_there, names = int(there.sum()), " ".join(found.texts.label(token) for token in tokens[:5].tolist())

    def show(shown: list[int]) -> dict[int, list[MatchView]]:
        return {
            latent: [
                _numbers(
                    [Piece(f"{percent(float(share[latent]))} of its activation on "), Piece(names, found=True)],
                    f", active on {count(int(n[latent]))} of {count(n_there)} counted",
                )
            ]
            for latent in shown
        }

    return Hits(latents, match, show)


def by_passage(found: OpenIndex, passage: str) -> Hits:
    """Latents that are active in a passage of the text, wherever it stands; none where it stands nowhere."""
    index, text = found.index, found.examples.text
    # A search field makes spaces of line ends.
    try:
        slots = text.pattern(r"\s+".join(map(re2.escape, passage.split())))
    except UserError as error:
        raise Impossible(error.given, error.expected, "paste fewer words.") from None
    there = np.zeros(len(index.counted), dtype=bool)
    there[text.positions(slots)] = True
    there &= index.counted
    if not there.any():
        return Hits(np.empty(0, dtype=np.int64), np.empty(0), lambda shown: {})
    n, _, most = index.sums_at(there)
    largest = np.abs(index.table["max"].astype(np.float64))
    latents = np.flatnonzero(n)

    def show(shown: list[int]) -> dict[int, list[MatchView]]:
        return {latent: [_in_passage(found, latent, there, int(n[latent]))] for latent in shown}

    return Hits(latents, (most / np.maximum(largest, 1e-30))[latents], show)


def _in_passage(found: OpenIndex, latent: int, there: NDArray[np.bool_], n: int) -> MatchView:
    """The passage where the latent is most active in it, the tokens of it that it is active on marked."""
    index, n_ctx = found.index, found.index.corpus.n_ctx
    positions, values = index.column(latent)
    inside = there[positions]
    positions, values = positions[inside], values[inside]
    peak = int(positions[np.abs(values).argmax()])
    first, last = peak, peak
    while first - 1 >= peak // n_ctx * n_ctx and there[first - 1] and peak - first < _SHOWN // 2:
        first -= 1
    while last + 1 < (peak // n_ctx + 1) * n_ctx and there[last + 1] and last - peak < _SHOWN // 2:
        last += 1
    around = np.arange(first, last + 1)
    tokens = index.corpus.tokens.reshape(-1)[around].tolist()
    pieces = read(found.texts, tokens, np.isin(around, positions).tolist(), peak - first)
    return _numbers(pieces, f" {number(float(np.abs(values).max()), 3)}, active {count(n)} times")


def _numbers(pieces: list[Piece], words: str) -> MatchView:
    return MatchView(where="activity", pieces=[*pieces, Piece(words)])


def _tokens(found: OpenIndex, typed: str) -> NDArray[np.int64]:
    """The tokens that are named: the whole as one token or else word by word, as their text or as pages write it."""
    named = found.named_tokens
    words = [typed] if typed in named else typed.split()
    missing = [word for word in words if word not in named]
    if missing or not words:
        nearby = [name for name in named if missing and missing[0].strip("·") in name][:5]
        raise Impossible(
            f"The vocabulary has no token {missing[0][:40]!r}." if missing else "No token was named.",
            "tokens exactly as they are, a · for a leading space" + (f": {', '.join(nearby)}" if nearby else ""),
            "search for it in the mode `text` to find tokens that contain it.",
        )
    return np.unique([token for word in words for token in named[word]])
