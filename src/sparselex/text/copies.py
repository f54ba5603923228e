"""Near copies: which documents are the same as another, whole or in large part, and so have to share its split.

What is compared of a document is in `shingles`, what makes two of them copies in `likeness`. Texts that are equal but
for blanks around them are copies whatever their length.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from sparselex.text.likeness import together
from sparselex.text.shingles import SCALE, WIDTH, bound, shingles

MOST = 2**21
"""Shingles kept at a time: those of 32 MB of text. Beyond it every second one is dropped, again and again: memory stays
below half a gigabyte, and near copies are known from a greater length on (`likeness.FEWEST * scale` bytes)."""

_BLOCK = 2**16
"""Bytes looked at in one go: more would not stay in a core's cache."""


class Copies:
    """Takes the documents of a text one by one, and knows in the end which of them go together."""

    def __init__(self, *, near: bool = True, most: int = MOST):
        """`near`: whether near copies are looked for as well, or equal texts alone; `most` as `MOST`."""
        self.scale, self._near, self._most = SCALE, near, most
        self._numbers = dict[int, int]()
        """Number of each different text, by its hash."""
        self._texts = list[int]()
        """Which of these each document is."""
        self._pending, self._n_pending = list[tuple[int, bytes]](), 0
        self._kept = list[tuple[NDArray[np.uint64], NDArray[np.int32]]]()
        self._n_kept = 0

    def add(self, text: str) -> None:
        """Take the next document."""
        data = text.strip().encode()
        digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        is_new, number = digest not in self._numbers, self._numbers.setdefault(digest, len(self._numbers))
        self._texts.append(number)
        if self._near and is_new and len(data) >= WIDTH:
            self._pending.append((number, data))
            self._n_pending += len(data)
            if self._n_pending >= _BLOCK:
                self._sketch()

    def groups(self) -> NDArray[np.int64]:
        """`[n_documents]` a number for each that it shares with those that go together with it, and with no other.

        The order in which the documents were taken does not matter to what goes together.
        """
        self._sketch()
        ranks = np.empty(len(self._numbers), dtype=np.int64)
        ranks[np.argsort(np.array(list(self._numbers), dtype=np.uint64))] = np.arange(len(ranks))
        hashes = np.concatenate([np.empty(0, np.uint64), *(part for part, _ in self._kept)])
        owners = np.concatenate([np.empty(0, np.int32), *(part for _, part in self._kept)])
        return together(hashes, ranks[owners], len(ranks))[ranks[np.array(self._texts, dtype=np.int64)]]

    def _sketch(self) -> None:
        numbers = np.array([number for number, _ in self._pending], dtype=np.int32)
        ends = np.cumsum([len(data) for _, data in self._pending])
        joined = b"".join(data for _, data in self._pending)
        self._pending, self._n_pending = [], 0
        for start in range(0, len(joined) - WIDTH + 1, _BLOCK):
            hashes = shingles(joined[start : start + _BLOCK + WIDTH - 1])
            places = np.flatnonzero(hashes < bound(self.scale))
            documents = np.searchsorted(ends, places + start, "right")
            inside = places + start + WIDTH <= ends[documents]  # no shingle of two documents
            self._kept.append((hashes[places[inside]], numbers[documents[inside]]))
            self._n_kept += int(inside.sum())
        while self._n_kept > self._most:
            self._thin_out()

    def _thin_out(self) -> None:
        self.scale *= 2
        fewer = [(hashes, owners, hashes < bound(self.scale)) for hashes, owners in self._kept]
        self._kept = [(hashes[stay], owners[stay]) for hashes, owners, stay in fewer]
        self._n_kept = sum(len(hashes) for hashes, _ in self._kept)
