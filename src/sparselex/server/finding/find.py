"""A search of the list: words in one of the modes, and conditions on columns."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.server.finding.activity import by_passage, by_token
from sparselex.server.finding.columns import Columns, Unscored
from sparselex.server.finding.hits import Hits, Mode
from sparselex.server.finding.meaning import by_meaning
from sparselex.server.finding.query import parsed
from sparselex.server.finding.words import Searched, by_pattern, by_words
from sparselex.server.opened import OpenWorkspace


class Found(NamedTuple):
    """What a search has found."""

    columns: Columns
    """What all latents have."""

    hits: Hits | None
    """What the words have found; None where there are none, or they are a latent's number."""

    latents: NDArray[np.int64]
    """Those that fit, ascending."""

    query: str
    """What was looked for."""

    words: str
    """What of that is no condition."""


def columns_of(opened: OpenWorkspace, run: str, score: str = "") -> Columns:
    """The columns of a run, worked out anew only where something has changed, with the scores that `score` names.
    Raises like `OpenWorkspace.index` and `Explained.headlines`."""
    found = opened.index(run)
    parts = found, opened.explained.texts(found.index), opened.effects(run), opened.labels(run)
    unscored = opened.remembered(f"columns of {run}", parts, Unscored)
    return Columns(unscored, opened.explained.headlines(found.index, score))


def find(opened: OpenWorkspace, run: str, q: str, mode: Mode, score: str = "") -> Found:
    """The latents that fit a search, conditions on scores by those that `score` names. Raises like `columns_of`, and
    `Impossible` for words that cannot be looked for in this mode."""
    columns = columns_of(opened, run, score)
    shown = "".join(char for char in q if char.isprintable())
    query = parsed(shown if mode == "token" else shown.strip())
    fitting = columns.fitting(query)
    words = query.words if mode == "token" and query.words.strip() else query.words.strip()
    if not words:
        return Found(columns, None, np.flatnonzero(fitting), shown.strip(), "")
    if mode in ("text", "meaning") and words.isascii() and words.isdecimal():
        only = np.array([int(words)] if len(words) < 10 else [], dtype=np.int64)
        only = only[only < columns.d_sae]
        return Found(columns, None, only[fitting[only]], shown.strip(), words)
    hits = _hits(opened, run, columns, words, mode)
    return Found(columns, hits, hits.latents[fitting[hits.latents]], shown.strip(), words)


def _hits(opened: OpenWorkspace, run: str, columns: Columns, words: str, mode: Mode) -> Hits:
    found = columns.found
    match mode:
        case "token":
            return by_token(found, words)
        case "passage":
            return by_passage(found, words)
        case "meaning":
            return by_meaning(opened, run, words)
    return _recent(opened, run, columns)(words, mode == "regex")


def _recent(opened: OpenWorkspace, run: str, columns: Columns) -> Callable[[str, bool], Hits]:
    """What looks for words or a pattern, and still knows what it found last: the next page of a list, and the same in
    another order, ask for it again."""

    def made(unscored: Unscored) -> Callable[[str, bool], Hits]:
        entries = opened.explained.entries(unscored.found.index)
        searched = Searched(unscored.found, entries, unscored.texts, unscored.labels)
        return lru_cache(_REMEMBERED)(
            lambda words, pattern: by_pattern(searched, words) if pattern else by_words(searched, words)
        )

    found: Callable[[str, bool], Hits] = opened.remembered(f"searches of {run}", (columns.unscored,), made)
    return found


_REMEMBERED = 8
"""Searches whose findings are kept: some 2 MB each where there are 100,000 latents."""
