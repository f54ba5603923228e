"""The text of rows of a corpus as bytes, to be searched: where words or a pattern stand, and how near to what."""

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import re2
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.features.pieces import AFTER, BEFORE
from sparselex.text.rows import TokenRows

REGEX_S = 2.0
"""Seconds of a processor that a pattern may take: a machine that is busy otherwise stops none."""

HALF = 4
"""Tokens away at which a match counts half."""

_SLOTS = 1 << 20
"""Tokens whose bytes are put together at a time."""

_PATTERN_BYTES = 1 << 20
"""Memory that a pattern may take."""

_PIECE = 1 << 14
"""Bytes in which a pattern is looked for at a time."""


class Slow(UserError):
    """A pattern that took longer than it may."""


class SearchedText:
    """Rows of a corpus as text. A *slot* numbers the tokens of these rows; behind each row is one more, so that nothing
    found reaches over its end. Upper and lower case are alike in `words`, and not in `pattern`.

    Args:
        corpus: the text.
        rows: `[n_rows]` numbers of the rows that are searched, ascending.
    """

    def __init__(self, corpus: TokenRows, rows: NDArray[np.int64]):
        self.corpus, self.rows, self.width = corpus, rows, corpus.n_ctx + 1
        none = np.full((len(rows), 1), -1)
        self.documents = np.concatenate([np.asarray(corpus.documents[rows]), none], axis=1).reshape(-1).astype(np.int32)
        tokens = np.concatenate([np.asarray(corpus.tokens[rows]).astype(np.int32), none], axis=1).reshape(-1)
        tokens = np.where(self.documents >= 0, tokens, len(corpus.vocabulary)).astype(np.int32)
        known = [corpus.vocabulary.token_bytes(token) for token in range(len(corpus.vocabulary))]
        self._exact, self._starts = _joined(tokens, [*known, b"\0"])
        self._folded, self._folded_starts = _joined(tokens, [*map(folded, known), b"\0"])

    def slots(self, positions: NDArray[np.integer]) -> NDArray[np.int64]:
        """Slots of positions of the corpus; -1 for those that are not in these rows."""
        rows, columns = np.divmod(positions, self.corpus.n_ctx)
        at = np.searchsorted(self.rows, rows).clip(max=max(0, len(self.rows) - 1))
        there = (positions >= 0) & (self.rows[at] == rows) if len(self.rows) else np.zeros(positions.shape, dtype=bool)
        return np.where(there, at * self.width + columns, -1)

    def positions(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of slots in the corpus."""
        return self.rows[slots // self.width] * self.corpus.n_ctx + slots % self.width

    def words(self, text: str) -> NDArray[np.int64]:
        """The slots that the text stands on, wherever it does, ascending."""
        needle = folded(text.encode(errors="surrogatepass"))
        starts = occurrences(self._folded, needle, self._counts)
        return self._covered(self._folded_starts, starts, starts + len(needle))

    def pattern(self, pattern: str, timeout_s: float = REGEX_S) -> NDArray[np.int64]:
        """The same of a regular expression (RE2's syntax; `^` and `$` are ends of lines, and no match crosses a row).

        Raises `UserError` for one that is none, and `Slow` for one that takes longer than it may.
        """
        ends = self._starts[self.width :: self.width]
        bounds = ends[np.flatnonzero(np.diff(ends // _PIECE, append=-1))]
        spans = np.array(list(matches(self._exact.tobytes(), compiled(pattern), bounds, timeout_s)), dtype=np.int64)
        return self._covered(self._starts, *spans.reshape(-1, 2).T)

    def nearness(self, hit: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[n]`, from 0 to 1: how near to each of some slots (ascending) the nearest that was hit stands, in what an
        example there shows. 1 where it is the slot itself, half that `HALF` tokens away."""
        if not len(hit):
            return np.zeros(len(slots), dtype=np.float32)
        behind = np.searchsorted(hit, slots)
        ahead = self._weight(hit[np.maximum(behind - 1, 0)], slots, BEFORE)
        return np.maximum(ahead, self._weight(hit[np.minimum(behind, len(hit) - 1)], slots, AFTER))

    def shown_with(self, hit: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of some slots (ascending) an example may show together with something that was hit, ascending: all that
        have a nearness, and some that have none."""
        reach = max(BEFORE, AFTER)
        first, end = np.searchsorted(slots, hit - reach), np.searchsorted(slots, hit + reach, "right")
        first[1:] = np.maximum(first[1:], end[:-1])  # none twice: both ascend
        n = np.maximum(end - first, 0)
        return np.arange(int(n.sum())) + np.repeat(first - (n.cumsum() - n), n)

    def nearest(self, hit: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[n]`, the slot that was hit nearest to each of some, among those that an example there shows; -1 where there
        is none."""
        found = np.full(len(slots), -1, dtype=np.int64)
        if not len(hit):
            return found
        # The one before and the one behind: what is further away is not nearer, and not of the same text if they are
        # not.
        behind = np.searchsorted(hit, slots)
        after, before = hit[np.minimum(behind, len(hit) - 1)], hit[np.maximum(behind - 1, 0)]
        for other, is_there in (
            (after, (after >= slots) & (after - slots <= AFTER)),
            (before, (before < slots) & (slots - before <= BEFORE)),
        ):
            nearer = is_there & self.together(other, slots)
            nearer &= (found < 0) | (np.abs(other - slots) <= np.abs(found - slots))
            found = np.where(nearer, other, found)
        return found

    def together(self, slots: NDArray[np.int64], with_: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """Which slots are of the same row and document as others."""
        same_row = slots // self.width == np.asarray(with_) // self.width
        return same_row & (self.documents[slots] == self.documents[with_])

    def _weight(self, hits: NDArray[np.int64], slots: NDArray[np.int64], most: int) -> NDArray[np.float32]:
        """What one hit of each slot is worth: nothing where it is further away than `most`, or on the wrong side (the
        other hit of the slot is then the nearer one)."""
        away = np.abs(hits - slots)
        near = np.flatnonzero(away <= most)
        near = near[self.together(hits[near], slots[near])]
        weight = np.zeros(len(slots), dtype=np.float32)
        weight[near] = HALF / (HALF + away[near])
        return weight

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return byte_counts(self._folded)

    def _covered(self, ends: NDArray[Any], first: NDArray[np.int64], behind: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots that ranges of bytes, from `first` to before `behind`, lie on, ascending."""
        first, behind = first[behind > first].astype(ends.dtype), behind[behind > first].astype(ends.dtype)
        begins = np.searchsorted(ends, first, "right") - 1
        n = np.searchsorted(ends, behind - 1, "right") - begins
        offsets = np.arange(int(n.sum())) - np.repeat(n.cumsum() - n, n)
        slots = np.sort(np.repeat(begins, n) + offsets)  # nearly in order: `np.unique` would hash them
        slots = slots[np.diff(slots, prepend=-1) > 0]
        return slots[self.documents[slots] >= 0]


def folded(text: bytes) -> bytes:
    """Bytes in lower case, where they are whole characters."""
    try:
        return text.decode().lower().encode()
    except UnicodeDecodeError:
        return text.lower()


def compiled(pattern: str) -> Any:
    """A regular expression in RE2's syntax: linear time and little memory, whatever a stranger writes. Raises
    `UserError` for one that is none, or too large."""
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _PATTERN_BYTES, False, True
    try:
        return re2.compile(b"(?m)" + pattern.encode(errors="replace"), options)
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        said = said.replace("(?m)", "", 1)  # ours, and no part of what was typed
        raise UserError(
            f"The pattern {pattern[:80]!r} cannot be read: {said[:200]}.",
            "a regular expression of RE2, such as \\breturn\\b or [\"'][A-Z]; there is no looking back or ahead",
            "correct it, write a \\ before signs that are meant as themselves, or search in the mode `text`.",
        ) from None


def matches(text: bytes, pattern: Any, ends: NDArray[Any], timeout_s: float = REGEX_S) -> Iterator[tuple[int, int]]:
    """Where a pattern matches UTF-8, as ranges of bytes, of which none is empty: what stands between two signs, or
    behind the last, is no place in a text. It is tried in the pieces that end at `ends`, one after another, so that
    others have their turn. Raises `Slow`."""
    start, deadline = 0, time.thread_time() + timeout_s
    for end in ends.tolist():
        for found in pattern.finditer(text[start:end]):
            first, behind = found.span()
            if behind > first:
                yield start + first, start + behind
            if time.thread_time() > deadline:
                break
        if time.thread_time() > deadline:
            raise Slow(
                f"The pattern was stopped: looking for it takes longer than {timeout_s:g} s.",
                "one that is found less often, and quickly",
                "ask for more than a single sign, or for fewer repetitions.",
            )
        start = end


def _joined(tokens: NDArray[np.int32], texts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The bytes of tokens one after another, and where each begins (and the last ends)."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    begins, all_bytes = lengths.cumsum() - lengths, np.frombuffer(b"".join(texts), dtype=np.uint8)
    starts = np.concatenate([[0], lengths[tokens].cumsum()])
    starts = starts.astype(np.int32) if starts[-1] < 2**31 else starts
    found = np.empty(int(starts[-1]), dtype=np.uint8)
    for first in range(0, len(tokens), _SLOTS):
        part = tokens[first : first + _SLOTS]
        span = slice(int(starts[first]), int(starts[first + len(part)]))
        shift = begins[part] - starts[first : first + len(part)]
        found[span] = all_bytes[np.arange(span.start, span.stop) + np.repeat(shift, lengths[part])]
    return found, starts


def byte_counts(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`[256]`, how often each byte stands in a text."""
    parts = range(0, len(text), _SLOTS)  # `np.bincount` makes eight bytes of each
    return sum((np.bincount(text[at : at + _SLOTS], minlength=256) for at in parts), np.zeros(256, dtype=np.int64))


def occurrences(text: NDArray[np.uint8], needle: bytes, counts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Where the needle begins in the text, overlapping ones too; `counts` says how often each byte stands there."""
    if not needle or len(needle) > len(text):
        return np.empty(0, dtype=np.int64)
    wanted = np.frombuffer(needle, dtype=np.uint8)
    counts = np.arange(256)[::-1] if counts is None else counts
    rarest = int(counts[wanted].argmin())
    found = np.flatnonzero(text == wanted[rarest]) - rarest
    found = found[(found >= 0) & (found <= len(text) - len(wanted))]
    for place in np.argsort(counts[wanted], kind="stable")[1:].tolist():
        found = found[text[found + place] == wanted[place]]
    return found
