"""How much of the test split stands word for word in train: counted in windows of tokens, by their hashes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.text.spool import Spool

WIDTH = 32
"""Tokens in a window."""

MOST = 2**16
"""Windows of test that are looked for: of more text every second, third and so on. The share is then certain to a few
tenths of a percent."""

_BLOCK = 2**16
"""Tokens hashed at a time."""

_BITS = np.uint64(44)
"""A window of train is looked for only where its first 20 bits are those of one of test."""


class Copied(NamedTuple):
    """Windows of the test split."""

    n_windows: int
    """How many were looked for."""

    n_in_train: int
    """How many of them stand in train as well."""


def copied(spool: Spool, test: NDArray[np.bool_], train: NDArray[np.bool_]) -> Copied:
    """How many of the windows of `WIDTH` tokens of the documents `test` stand in one of `train` (both
    `[n_documents]`); none goes over the end of a document."""
    step = max(1, -(-int(np.array(spool.lengths)[test].sum()) // MOST))
    looked_for = np.concatenate([np.empty(0, np.uint64), *(part[::step] for part in _windows(spool, test))])
    kinds, which = np.unique(looked_for, return_inverse=True)
    may_be = np.zeros(2**20, dtype=np.bool_)
    may_be[kinds >> _BITS] = True
    found = np.zeros(len(kinds), dtype=np.bool_)
    for windows in _windows(spool, train) if len(kinds) else ():
        candidates = windows[may_be[windows >> _BITS]]
        places = np.searchsorted(kinds, candidates).clip(max=len(kinds) - 1)
        found[places[kinds[places] == candidates]] = True
    return Copied(len(looked_for), int(found[which].sum()))


def _windows(spool: Spool, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.uint64]]:
    """Hashes of all windows of the documents that are chosen, in order."""
    for tokens, lengths in _blocks(spool, chosen):
        hashes = tokens.astype(np.uint64) + np.uint64(1)
        for step in (1, 2, 4, 8, 16):
            hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
            hashes = hashes[:-step] * np.uint64(0xD6E8FEB86659FD93) + hashes[step:]
        hashes ^= hashes >> np.uint64(29)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens to the document's end
        yield hashes[left[: len(hashes)] >= WIDTH]


def _blocks(spool: Spool, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.unsignedinteger], list[int]]]:
    """Documents of at least `WIDTH` tokens, about `_BLOCK` tokens at a time, with their lengths."""
    parts, n_tokens = list[NDArray[np.unsignedinteger]](), 0
    for ids, is_chosen in zip(spool.documents(), chosen, strict=True):
        if is_chosen and len(ids) >= WIDTH:
            parts.append(ids)
            n_tokens += len(ids)
            if n_tokens >= _BLOCK:
                yield np.concatenate(parts), [len(part) for part in parts]
                parts, n_tokens = [], 0
    if parts:
        yield np.concatenate(parts), [len(part) for part in parts]
